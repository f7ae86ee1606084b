// Node-RED without its editor, for the end-to-end tests. The first argument is JSON: dir, where it keeps its things, and
// host, port, user and password of the broker. Its flows give what comes at nr/in/{3,5} out at nr/out/{3,5}, through one
// broker node for each version of the protocol, and answer requests of MQTT 5 at nr/ask. With home, a version, they are those of
// somebody's home instead: when a device says that something moves, the lamp is to be on, and when it says that something was
// pressed, the scene "night" of the conversation is run. It prints "started", and what it complains about goes to standard
// error. Nothing of it listens, and nothing asks for news of it.
import { createServer } from 'node:http'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import RED from 'node-red'

const { dir, host, port, user, password, home, conversation } = JSON.parse(process.argv[2])

const broker = (version) => ({
  id: 'broker' + version,
  type: 'mqtt-broker',
  broker: host,
  port,
  clientid: 'nodered' + version,
  autoConnect: true,
  usetls: false,
  protocolVersion: version === 5 ? '5' : '4',
  keepalive: '60',
  cleansession: false,
  autoUnsubscribe: false,
  sessionExpiry: '3600',
  birthTopic: 'nr/status/' + version,
  birthQos: '1',
  birthRetain: 'true',
  birthPayload: 'online',
  willTopic: 'nr/status/' + version,
  willQos: '1',
  willRetain: 'true',
  willPayload: 'gone',
  willMsg: version === 5 ? { contentType: 'text/plain', userProps: { why: 'crash' } } : {},
})
const input = (id, version, topic, wire) => ({
  id,
  type: 'mqtt in',
  z: 'flow',
  topic,
  qos: '2',
  datatype: 'buffer',
  broker: 'broker' + version,
  nl: false,
  rap: true,
  rh: 0,
  inputs: 0,
  wires: [[wire]],
})
const output = (id, version, topic) => ({
  id,
  type: 'mqtt out',
  z: 'flow',
  topic,
  qos: '',
  retain: '',
  respTopic: '',
  contentType: '',
  userProps: '',
  correl: '',
  expiry: '',
  broker: 'broker' + version,
  wires: [],
})
const atHome = (version) => [
  { id: 'flow', type: 'tab', label: 'home' },
  { ...broker(version), birthTopic: '', willTopic: '' },
  { ...input('events', version, 'dev/+/event/out', 'moved'), qos: '1', datatype: 'json' },
  {
    id: 'moved',
    type: 'function',
    z: 'flow',
    func: `
      const { type, id } = msg.payload
      if (type === "motion") return [{ payload: { power: "on", why: id }, qos: 1 }]
      if (type === "press") return [null, { payload: { c: ${JSON.stringify(conversation)}, id: "night", run: id }, qos: 1 }]`,
    outputs: 2,
    wires: [['lamp'], ['scene']],
  },
  output('lamp', version, 'dev/lamp/set'),
  output('scene', version, 'im/rpc/scene.run'),
]
const echo = [
  { id: 'flow', type: 'tab', label: 'echo' },
  broker(3),
  broker(5),
  input('in3', 3, 'nr/in/3', 'out3'),
  output('out3', 3, 'nr/out/3'),
  input('in5', 5, 'nr/in/5', 'out5'),
  output('out5', 5, 'nr/out/5'),
  input('ask', 5, 'nr/ask', 'reply'),
  {
    id: 'reply',
    type: 'function',
    z: 'flow',
    func: 'return { topic: msg.responseTopic, correlationData: msg.correlationData, payload: "re: " + msg.payload, qos: 1 }',
    outputs: 1,
    wires: [['answer']],
  },
  output('answer', 5, ''),
]
const flows = home ? atHome(home) : echo
const credentials = { broker3: { user, password }, broker5: { user, password } }

mkdirSync(dir, { recursive: true })
writeFileSync(join(dir, 'flows.json'), JSON.stringify(flows))
writeFileSync(join(dir, 'flows_cred.json'), JSON.stringify(credentials))

RED.init(createServer(), {
  userDir: dir,
  flowFile: 'flows.json',
  credentialSecret: false,
  httpAdminRoot: false,
  httpNodeRoot: false,
  disableEditor: true,
  telemetry: { enabled: false, updateNotification: false },
  externalModules: {
    autoInstall: false,
    palette: { allowInstall: false, allowUpload: false, catalogues: [] },
    modules: { allowInstall: false },
  },
  mqttReconnectTime: 200,
  logging: { console: { level: 'off' }, errors: { level: 'warn', handler: () => (m) => console.error(JSON.stringify(m)) } },
})
RED.events.once('flows:started', () => console.log('started'))
await RED.start()
process.on('SIGINT', () => RED.stop().then(() => process.exit(0)))
