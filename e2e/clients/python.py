"""Debian's python3-paho-mqtt as a client for the end-to-end tests; see mqttjs/client.mjs for what it does."""

import base64
import json
import os
import signal
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

job = json.loads(sys.argv[1])
five = job["version"] == 5
if five:
    client = mqtt.Client(client_id=job["client"], protocol=mqtt.MQTTv5)
else:
    client = mqtt.Client(client_id=job["client"], clean_session=job["clean"], protocol=mqtt.MQTTv311)
client.username_pw_set(job["user"], job["password"])
client.max_inflight_messages_set(100)
client.reconnect_delay_set(1, 1)
if "will" in job:
    will = job["will"]
    client.will_set(will["topic"], base64.b64decode(will["payload"]), will["qos"], will["retain"])
connected = threading.Event()


def fail(*why):
    print(*why, file=sys.stderr, flush=True)
    os._exit(1)


def on_connect(client, userdata, flags, rc, properties=None):
    if rc != 0:
        fail("CONNACK", rc)
    connected.set()
    if job["do"] == "listen":
        client.subscribe([(filter, job["qos"]) for filter in job["filters"]])


def on_subscribe(client, userdata, mid, granted, properties=None):
    codes = [getattr(code, "value", code) for code in granted]
    if any(code > 2 for code in codes):
        fail("SUBACK", codes)
    print("ready", flush=True)


def on_message(client, userdata, message):
    payload = base64.b64encode(message.payload or b"").decode()
    got = {"topic": message.topic, "payload": payload, "qos": message.qos, "retain": bool(message.retain)}
    print(json.dumps(got), flush=True)


def on_disconnect(client, userdata, rc, properties=None):
    if rc != 0 and not job["reconnect"]:
        fail("connection lost", rc)


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_disconnect = on_disconnect
signal.signal(signal.SIGINT, lambda *_: client.disconnect())
host, port = job["addr"].rsplit(":", 1)
if five:
    properties = Properties(PacketTypes.CONNECT)
    if not job["clean"]:
        properties.SessionExpiryInterval = 3600
    client.connect(host, int(port), job["keepAlive"] or 60, clean_start=job["clean"], properties=properties)
else:
    client.connect(host, int(port), job["keepAlive"] or 60)

if job["do"] == "send":
    client.loop_start()
    connected.wait()
    sent = []
    for line in sys.stdin.buffer:
        message = json.loads(line)
        payload = base64.b64decode(message["payload"] or "")
        sent.append(client.publish(message["topic"], payload, message["qos"], message["retain"]))
    for info in sent:
        info.wait_for_publish()
    client.disconnect()
    client.loop_stop()
else:
    client.loop_forever()
