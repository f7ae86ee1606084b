// aws-iot-device-sdk-v2 as a client for the end-to-end tests: what a device of AWS IoT does with its shadows and
// jobs, and to become one. The first
// argument is JSON: host, port, user, password, client and thing; or ca, cert and
// key, which are files, in the place of user and password. Lines of its standard input are {"do", ...} in JSON, and a
// line of JSON is printed for each: what came of it. What its streams say is printed as it comes.
import { createInterface } from 'node:readline'
import iot from 'aws-iot-device-sdk-v2'

const { mqtt5, iotshadow, iotjobs, iotidentity } = iot
const { host, port, user, password, client, thing, ca, cert, key } = JSON.parse(process.argv[2])
const say = (line) => console.log(JSON.stringify(line))

function withCertificate() {
  const builder = iot.iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(host, cert, key)
  builder.withPort(port).withCertificateAuthorityFromPath(undefined, ca)
  builder.withConnectProperties({ clientId: client, keepAliveIntervalSeconds: 60 })
  return builder.build()
}

const withPassword = () => ({
  hostName: host,
  port,
  connectProperties: { clientId: client, keepAliveIntervalSeconds: 60, username: user, password },
  sessionBehavior: mqtt5.ClientSessionBehavior.Clean,
})

const connection = new mqtt5.Mqtt5Client(cert ? withCertificate() : withPassword())
connection.on('connectionFailure', (event) => say({ failed: String(event.error) }))
connection.on('connectionSuccess', () => say({ connected: true }))
connection.start()
const options = {
  maxRequestResponseSubscriptions: 10,
  maxStreamingSubscriptions: 4,
  operationTimeoutInSeconds: 30,
}
const shadows = iotshadow.IotShadowClientv2.newFromMqtt5(connection, options)
const identity = iotidentity.IotIdentityClientv2.newFromMqtt5(connection, options)
const jobs = iotjobs.IotJobsClientv2.newFromMqtt5(connection, options)

const requests = {
  get: (r) => (r.shadowName ? shadows.getNamedShadow(r) : shadows.getShadow(r)),
  update: (r) => (r.shadowName ? shadows.updateNamedShadow(r) : shadows.updateShadow(r)),
  delete: (r) => (r.shadowName ? shadows.deleteNamedShadow(r) : shadows.deleteShadow(r)),
  pending: (r) => jobs.getPendingJobExecutions(r),
  start: (r) => jobs.startNextPendingJobExecution(r),
  describe: (r) => jobs.describeJobExecution(r),
  job: (r) => jobs.updateJobExecution(r),
  csr: (r) => identity.createCertificateFromCsr(r),
  keys: (r) => identity.createKeysAndCertificate(r),
  register: (r) => identity.registerThing(r),
}

const streams = {
  delta: (r) => (r.shadowName ? shadows.createNamedShadowDeltaUpdatedStream(r) : shadows.createShadowDeltaUpdatedStream(r)),
  documents: (r) => (r.shadowName ? shadows.createNamedShadowUpdatedStream(r) : shadows.createShadowUpdatedStream(r)),
  jobs: (r) => jobs.createJobExecutionsChangedStream(r),
  next: (r) => jobs.createNextJobExecutionChangedStream(r),
}

const open = []

async function serve({ do: what, ...request }) {
  request.thingName = thing
  if (streams[what]) {
    const stream = streams[what](request)
    open.push(stream)
    await new Promise((resolve) => {
      stream.on('subscriptionStatus', (status) => resolve(status))
      stream.on('incomingPublish', (event) => say({ [what]: event.message }))
      stream.on('incomingPublishError', (event) => say({ failed: String(event.error) }))
      stream.open()
    })
    return say({ opened: what })
  }
  try {
    say({ [what]: await requests[what](request) })
  } catch (error) {
    say({ [what]: null, error: error.modeledError ?? String(error.internalError ?? error) })
  }
}

let last = Promise.resolve()
createInterface({ input: process.stdin })
  .on('line', (line) => (last = last.then(() => serve(JSON.parse(line)))))
  .on('close', () => last.then(() => process.exit(0)))
