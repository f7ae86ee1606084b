// A fake radio for Zigbee2MQTT: there is no Zigbee here. What it replaces is Adapter.create of zigbee-herdsman, which gives
// the driver of the stick in a serial port (Ember, Z-Stack, ...); everything above that is what people run. It has the
// interface of that class, and behind it are devices that understand frames of the Zigbee Cluster Library: they answer
// to reads, writes and configurations of reports, keep their attributes, and do what clusters of lamps say (genOnOff,
// genLevelCtrl). `sent` is called with each frame that goes to one of them; report has one say something.
const { Adapter } = require('zigbee-herdsman/dist/adapter/adapter')
const Zcl = require('zigbee-herdsman/dist/zspec/zcl')

const coordinator = '0x00124b0000000001'
const success = Zcl.Status.SUCCESS

class Radio extends Adapter {
  #devices // by network address: { ieee, address, attributes: { cluster: { name: value } } }
  #sent
  #number = 0

  constructor(network, devices, sent) {
    super(network, {}, '', {})
    this.#devices = new Map(devices.map((device) => [device.address, device]))
    this.#sent = sent
  }

  async start() {
    return 'resumed'
  }
  async stop() {}
  async reset() {}
  async getCoordinatorIEEE() {
    return coordinator
  }
  async getCoordinatorVersion() {
    return { type: 'fake', meta: { revision: 'fake' } }
  }
  async supportsBackup() {
    return false
  }
  async backup() {
    throw new Error('a fake radio has no backup')
  }
  async getNetworkParameters() {
    const { panID, channelList } = this.networkOptions
    return { panID, extendedPanID: '0xdddddddddddddddd', channel: channelList[0], nwkUpdateID: 0 }
  }
  async addInstallCode() {}
  async permitJoin() {}
  waitFor() {
    return { promise: new Promise(() => {}), cancel() {} }
  }

  // Bindings and the like succeed; what describes devices is in the database.
  async sendZdo() {
    return [success, undefined]
  }

  async sendZclFrameToEndpoint(ieee, address, endpoint, frame, timeout, disableResponse) {
    const device = this.#devices.get(address)
    if (!device) throw new Error(`Timeout: nobody at ${address}`)
    this.#sent({ ieee, cluster: frame.cluster.name, command: frame.command.name, payload: frame.payload })
    const answer = frame.header.isGlobal ? this.#global(device, frame) : this.#specific(device, frame)
    return disableResponse ? undefined : this.#payload(address, endpoint, answer)
  }
  async sendZclFrameToGroup() {}
  async sendZclFrameToAll() {}
  async setChannelInterPAN() {}
  async sendZclFrameInterPANToIeeeAddr() {}
  async sendZclFrameInterPANBroadcast() {
    throw new Error('nobody answers')
  }
  async restoreChannelInterPAN() {}

  // report has a device say values of its attributes, by their names.
  report({ ieee, cluster, attributes }) {
    const device = [...this.#devices.values()].find((d) => d.ieee === ieee)
    Object.assign((device.attributes[cluster] ??= {}), attributes)
    const known = Zcl.Utils.getCluster(cluster, undefined, {}).attributes
    const items = Object.entries(attributes).map(([name, attrData]) => {
      return { attrId: known[name].ID, dataType: known[name].type, attrData }
    })
    this.#number = (this.#number + 1) % 256
    this.emit('zclPayload', this.#payload(device.address, 1, this.#frame('report', cluster, items, this.#number)))
  }

  #frame(command, cluster, payload, number) {
    const toClient = Zcl.Direction.SERVER_TO_CLIENT
    return Zcl.Frame.create(Zcl.FrameType.GLOBAL, toClient, true, undefined, number, command, cluster, payload, {})
  }

  #payload(address, endpoint, frame) {
    const data = frame.toBuffer()
    return {
      clusterID: frame.cluster.ID,
      address,
      header: Zcl.Header.fromBuffer(data),
      data,
      endpoint,
      linkquality: 90,
      groupID: 0,
      wasBroadcast: false,
      destinationEndpoint: 1,
    }
  }

  // global answers to commands that all clusters have.
  #global(device, { cluster, command, payload, header }) {
    const values = (device.attributes[cluster.name] ??= {})
    const attribute = (id) => Object.values(cluster.attributes).find((a) => a.ID === id)
    const answer = (name, items) => this.#frame(name, cluster, items, header.transactionSequenceNumber)
    switch (command.name) {
      case 'read':
        return answer(
          'readRsp',
          payload.map(({ attrId }) => {
            const attrData = values[attribute(attrId)?.name]
            if (attrData === undefined) return { attrId, status: Zcl.Status.UNSUPPORTED_ATTRIBUTE }
            return { attrId, status: success, dataType: attribute(attrId).type, attrData }
          }),
        )
      case 'write':
        for (const { attrId, attrData } of payload) values[attribute(attrId)?.name] = attrData
        return answer('writeRsp', [{ status: success }])
      case 'configReport':
        return answer('configReportRsp', [{ status: success }])
      default:
        return this.#done(cluster, command, header)
    }
  }

  // specific does what a lamp does.
  #specific(device, { cluster, command, payload, header }) {
    const onOff = (device.attributes.genOnOff ??= {})
    if (cluster.name === 'genOnOff') onOff.onOff = { on: 1, off: 0, toggle: 1 - onOff.onOff }[command.name]
    if (cluster.name === 'genLevelCtrl' && payload.level !== undefined) {
      ;(device.attributes.genLevelCtrl ??= {}).currentLevel = payload.level
      if (command.name.endsWith('WithOnOff')) onOff.onOff = payload.level > 0 ? 1 : 0
    }
    return this.#done(cluster, command, header)
  }

  #done(cluster, command, header) {
    const payload = { cmdId: command.ID, statusCode: success }
    return this.#frame('defaultRsp', cluster, payload, header.transactionSequenceNumber)
  }
}

// install has Zigbee2MQTT be given this radio when it looks for a stick, and gives it then.
function install(devices, sent) {
  return new Promise((resolve) => {
    Adapter.create = async (network) => {
      const radio = new Radio(network, devices, sent)
      resolve(radio)
      return radio
    }
  })
}

module.exports = { install, coordinator }
