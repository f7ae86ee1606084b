"""Debian's python3-paho-mqtt as a client for the end-to-end tests; see mqttjs/client.mjs for what it does."""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

job = json.loads(sys.argv[1])
five = job["version"] == 5
if five:
    client = mqtt.Client(client_id=job["client"], protocol=mqtt.MQTTv5)
else:
    client = mqtt.Client(client_id=job["client"], clean_session=False, protocol=mqtt.MQTTv311)
client.username_pw_set(job["user"], job["password"])
client.max_inflight_messages_set(100)
connected = threading.Event()


def fail(*why):
    print(*why, file=sys.stderr, flush=True)
    import os

    os._exit(1)


def on_connect(client, userdata, flags, rc, properties=None):
    if rc != 0:
        fail("CONNACK", rc)
    connected.set()
    if job["do"] == "subscribe":
        client.subscribe(job["topic"], job["qos"])


def on_subscribe(client, userdata, mid, granted, properties=None):
    codes = [getattr(code, "value", code) for code in granted]
    if any(code > 2 for code in codes):
        fail("SUBACK", codes)
    print("ready", flush=True)


def on_message(client, userdata, message):
    sys.stdout.buffer.write(message.payload + b"\n")
    sys.stdout.buffer.flush()


def on_disconnect(client, userdata, rc, properties=None):
    if rc != 0:
        fail("connection lost", rc)


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_disconnect = on_disconnect
host, port = job["addr"].rsplit(":", 1)
if five:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client.connect(host, int(port), clean_start=False, properties=properties)
else:
    client.connect(host, int(port))

if job["do"] == "publish":
    client.loop_start()
    connected.wait()
    last = []
    for line in sys.stdin.buffer:
        last.append(client.publish(job["topic"], line.rstrip(b"\n"), qos=job["qos"]))
    for info in last:
        info.wait_for_publish()
    client.disconnect()
    client.loop_stop()
else:
    client.loop_forever()
