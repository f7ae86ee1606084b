// MQTT.js as a client for the end-to-end tests. The first argument is JSON: what scripts.go calls a job. "send" sends
// every line of standard input, a message as JSON with its payload in base64, in order, and ends when all are
// acknowledged; "listen" prints "ready" once it is subscribed, and then a line for each message, until it is interrupted.
import mqtt from 'mqtt'
import { createInterface } from 'node:readline'

const job = JSON.parse(process.argv[2])
const text = (payload) => Buffer.from(payload ?? '', 'base64')
const client = mqtt.connect(job.url, {
  username: job.user,
  password: job.password,
  clientId: job.client,
  protocolVersion: job.version,
  clean: job.clean,
  keepalive: job.keepAlive || 60,
  properties: job.version === 5 && !job.clean ? { sessionExpiryInterval: 3600 } : undefined,
  will: job.will && { ...job.will, payload: text(job.will.payload) },
  reconnectPeriod: job.reconnect ? 100 : 0,
})
const fail = (err) => {
  console.error(err)
  process.exit(1)
}
if (!job.reconnect) {
  client.on('error', fail)
  client.on('close', () => fail('the connection was closed'))
}
const end = async () => {
  client.removeAllListeners('close')
  await client.endAsync()
}

if (job.do === 'send') {
  client.on('error', (err) => job.reconnect || fail(err))
  client.once('connect', async () => {
    let acks = []
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      const { topic, payload, qos, retain } = JSON.parse(line)
      acks.push(client.publishAsync(topic, text(payload), { qos, retain }))
      if (acks.length === 500) await Promise.all(acks.splice(0))
    }
    await Promise.all(acks)
    await end()
  })
} else {
  client.on('error', (err) => job.reconnect || fail(err))
  client.on('message', (topic, payload, { qos, retain }) =>
    process.stdout.write(JSON.stringify({ topic, payload: payload.toString('base64'), qos, retain }) + '\n'),
  )
  client.once('connect', async () => {
    const granted = await client.subscribeAsync(job.filters, { qos: job.qos })
    if (granted.some((g) => g.qos > 2)) fail('not granted')
    process.stdout.write('ready\n')
  })
  process.on('SIGINT', end)
}
