// homie-device as a client for the end-to-end tests: a lamp. The first argument is JSON: host, port, user, password and
// device, its id. A line is printed when it is ready, and for each value of its power that somebody sets.
import HomieDevice from 'homie-device'

const { host, port, user, password, device } = JSON.parse(process.argv[2])
const lamp = new HomieDevice({
  name: 'A lamp',
  device_id: device,
  mqtt: { host, port, base_topic: 'homie/', auth: true, username: user, password },
})
lamp.setFirmware('lamp', '1.0.0')
const node = lamp.node('light', 'The light', 'switch')
node
  .advertise('power')
  .setName('Power')
  .setDatatype('boolean')
  .settable((range, value) => {
    node.setProperty('power').setRetained(true).send(value)
    console.log('set ' + value)
  })
lamp.on('connect', () => {
  node.setProperty('power').send('false')
  console.log('ready')
})
lamp.setup(true)
process.on('SIGINT', () => {
  lamp.mqttClient.end(false, () => process.exit(0))
})
