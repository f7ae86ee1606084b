// aws-iot-device-sdk, the first of AWS's SDKs, as a client for the end-to-end tests: the shadow of a thing, over TLS with a
// certificate of its own, which is all that it can. The first argument is JSON: host, port, client, thing, and ca, cert and
// key, which are files. Lines of its standard input are {"do", ...} in JSON: register, get, update with a state, delete. A
// line of JSON is printed for what came of each, and for what it is told by itself. It comes again when it loses its
// connection, as it does by itself, but sooner.
import { createInterface } from 'node:readline'
import iot from 'aws-iot-device-sdk'

const { host, port, client, thing, ca, cert, key } = JSON.parse(process.argv[2])
const say = (line) => console.log(JSON.stringify(line))

const shadows = iot.thingShadow({
  host,
  port,
  clientId: client,
  caPath: ca,
  certPath: cert,
  keyPath: key,
  baseReconnectTimeMs: 200,
})
const asked = {} // by client token: what was done

shadows.on('connect', () => say({ connected: true }))
shadows.on('close', () => say({ closed: true }))
shadows.on('error', (error) => say({ error: error.message }))
shadows.on('delta', (name, state) => say({ delta: state }))
shadows.on('foreignStateChange', (name, operation, state) => say({ foreign: operation, state }))
shadows.on('timeout', (name, token) => say({ [asked[token]]: 'timeout' }))
shadows.on('status', (name, status, token, state) => say({ [asked[token]]: status, state }))

const serve = {
  register: () => shadows.register(thing, {}, (error, failed) => say({ register: error ?? 'granted', failed })),
  get: () => shadows.get(thing),
  update: ({ state }) => shadows.update(thing, { state }),
  delete: () => shadows.delete(thing),
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: what, ...request } = JSON.parse(line)
  const token = serve[what](request)
  if (token) asked[token] = what
})
