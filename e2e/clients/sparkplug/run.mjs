// sparkplug-client as a client for the end-to-end tests. The first argument is JSON: url, user, password, group, id, and
// do. "node" is an edge node with one device: it is born when it is connected and whenever it is told so, and sends the
// number of each line of standard input. "host" is the application on the other side, which has no library: it prints
// every message as JSON, and tells all nodes to be born again when it reads "rebirth".
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import sparkplug from 'sparkplug-client'

const require = createRequire(createRequire(import.meta.url).resolve('sparkplug-client'))
const mqtt = require('mqtt')
const codec = require('sparkplug-payload').get('spBv1.0')

const { do: role, url, user, password, group, id } = JSON.parse(process.argv[2])
const lines = (each) => createInterface({ input: process.stdin }).on('line', each)
const print = (what) => console.log(JSON.stringify(what, (_, v) => v?.toNumber?.() ?? v))

if (role === 'node') {
  const node = sparkplug.newClient({ serverUrl: url, username: user, password, groupId: group, edgeNode: id, clientId: id })
  const metrics = (n) => [
    { name: 'count', value: n, type: 'Int32' },
    { name: 'text', value: '温度 ' + n, type: 'String' },
  ]
  const birth = () => {
    node.publishNodeBirth({
      timestamp: Date.now(),
      metrics: [{ name: 'Node Control/Rebirth', value: false, type: 'Boolean' }, ...metrics(0)],
    })
    node.publishDeviceBirth('probe', { timestamp: Date.now(), metrics: metrics(0) })
    print('born')
  }
  node.on('birth', birth)
  node.on('ncmd', ({ metrics }) => {
    if (metrics.some((m) => m.name === 'Node Control/Rebirth' && m.value)) birth()
  })
  node.on('error', (err) => {
    console.error(err)
    process.exit(1)
  })
  lines((n) => {
    node.publishNodeData({ timestamp: Date.now(), metrics: metrics(Number(n)) })
    node.publishDeviceData('probe', { timestamp: Date.now(), metrics: metrics(Number(n)) }, { compress: true })
  })
  process.on('SIGINT', () => node.stop())
} else {
  const state = 'spBv1.0/STATE/' + id
  const online = (online) => JSON.stringify({ online, timestamp: 1 })
  const host = mqtt.connect(url, {
    username: user,
    password,
    clientId: id,
    will: { topic: state, payload: online(false), qos: 1, retain: true },
  })
  host.on('message', (topic, payload, { retain }) => {
    const text = topic.startsWith('spBv1.0/STATE/')
    print({ topic, retain, payload: text ? JSON.parse(payload) : codec.decodePayload(payload) })
  })
  host.on('connect', () => {
    host.subscribe('spBv1.0/' + group + '/#', () => host.publish(state, online(true), { qos: 1, retain: true }, () => print('online')))
  })
  lines(() => {
    const payload = { timestamp: Date.now(), metrics: [{ name: 'Node Control/Rebirth', value: true, type: 'Boolean' }] }
    host.publish('spBv1.0/' + group + '/NCMD/node', Buffer.from(codec.encodePayload(payload)))
  })
  process.on('SIGINT', () => host.end())
}
