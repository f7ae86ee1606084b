// MQTT.js as a client for the end-to-end tests. The first argument is JSON: url, user, password, client, version, topic,
// qos, and do. "publish" sends every line of standard input, in order, and ends when all are acknowledged; "subscribe"
// prints "ready" once it is subscribed, and then a line for each message.
import mqtt from 'mqtt'
import { createInterface } from 'node:readline'

const job = JSON.parse(process.argv[2])
const client = mqtt.connect(job.url, {
  username: job.user,
  password: job.password,
  clientId: job.client,
  protocolVersion: job.version,
  clean: false,
  properties: job.version === 5 ? { sessionExpiryInterval: 3600 } : undefined,
  reconnectPeriod: 0,
})
const fail = (err) => {
  console.error(err)
  process.exit(1)
}
client.on('error', fail)
client.on('close', () => fail('the connection was closed'))

if (job.do === 'publish') {
  client.once('connect', async () => {
    const acks = []
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      acks.push(client.publishAsync(job.topic, line, { qos: job.qos }))
      if (acks.length % 1000 === 0) await Promise.all(acks.splice(0))
    }
    await Promise.all(acks)
    client.removeAllListeners('close')
    await client.endAsync()
  })
} else {
  client.on('message', (topic, payload) => process.stdout.write(payload.toString() + '\n'))
  client.once('connect', async () => {
    const granted = await client.subscribeAsync(job.topic, { qos: job.qos })
    if (granted.some((g) => g.qos > 2)) fail('not granted')
    process.stdout.write('ready\n')
  })
}
