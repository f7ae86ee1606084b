// Zigbee2MQTT for the end-to-end tests, with the fake radio of radio.cjs in the place of a stick. The first argument is
// JSON: dir, where it keeps its things; host, port, user and password of the broker, and the version of MQTT if it is not its
// own choice; and homeassistant, whether it describes devices for Home Assistant. Two devices are in its network, as its database has them after they have joined: a bulb of
// IKEA, called "bulb", and a thermometer of Xiaomi, "weather". Each frame that is sent to one of them is printed as JSON;
// a line of the standard input, {"ieee", "cluster", "attributes"}, has one report something. It serves no page, and asks
// nobody for news.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const require = createRequire(import.meta.url)
const { install, coordinator } = require('./radio.cjs')
const { dir, host, port, user, password, version, homeassistant } = JSON.parse(process.argv[2])

const bulb = {
  ieee: '0x000b57fffe000001',
  address: 4001,
  attributes: { genBasic: { zclVersion: 3 }, genOnOff: { onOff: 0 }, genLevelCtrl: { currentLevel: 254 } },
}
const weather = { ieee: '0x00158d0000000002', address: 4002, attributes: {} }

const entry = (id, type, ieeeAddr, nwkAddr, manufId, deviceID, [inClusterList, outClusterList], more) => ({
  id,
  type,
  ieeeAddr,
  nwkAddr,
  manufId,
  epList: [1],
  endpoints: {
    1: { epId: 1, profId: 260, devId: deviceID, inClusterList, outClusterList, clusters: {}, binds: [], meta: {} },
  },
  interviewCompleted: true,
  interviewState: 'SUCCESSFUL',
  meta: {},
  lastSeen: Date.now(),
  ...more,
})
const database = [
  entry(1, 'Coordinator', coordinator, 0, 0, 5, [[], []]),
  entry(2, 'Router', bulb.ieee, bulb.address, 4476, 257, [[0, 3, 4, 5, 6, 8, 4096], [5, 25, 32, 4096]], {
    manufName: 'IKEA of Sweden',
    modelId: 'TRADFRI bulb E27 WW 806lm',
    powerSource: 'Mains (single phase)',
    swBuildId: '2.3.087',
  }),
  entry(3, 'EndDevice', weather.ieee, weather.address, 4151, 24321, [[0, 3, 65535, 1026, 1027, 1029], [0, 4, 65535]], {
    manufName: 'LUMI',
    modelId: 'lumi.weather',
    powerSource: 'Battery',
  }),
]

const configuration = {
  version: 5,
  mqtt: { server: `mqtt://${host}:${port}`, user, password, version },
  serial: { port: '/dev/null', adapter: 'ember' },
  homeassistant: { enabled: homeassistant },
  frontend: { enabled: false },
  availability: { enabled: true },
  ota: { disable_automatic_update_check: true },
  advanced: {
    log_output: ['console'],
    log_level: 'error',
    channel: 11,
    pan_id: 6754,
    ext_pan_id: Array(8).fill(221),
    network_key: Array(16).fill(1),
  },
  devices: { [bulb.ieee]: { friendly_name: 'bulb' }, [weather.ieee]: { friendly_name: 'weather' } },
}

mkdirSync(dir, { recursive: true })
writeFileSync(join(dir, 'configuration.yaml'), JSON.stringify(configuration)) // JSON is YAML
if (!existsSync(join(dir, 'database.db'))) {
  writeFileSync(join(dir, 'database.db'), database.map((d) => JSON.stringify(d)).join('\n'))
}
process.env.ZIGBEE2MQTT_DATA = dir
process.env.Z2M_ONBOARD_NO_SERVER = '1'
process.env.GIT_DIR = dir // it would take a repository around it for its own, and build itself anew
process.chdir(dir)

const radio = install([bulb, weather], (frame) => console.log(JSON.stringify(frame)))
createInterface({ input: process.stdin }).on('line', async (line) => (await radio).report(JSON.parse(line)))
require('zigbee2mqtt').start()
