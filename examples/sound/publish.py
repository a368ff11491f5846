"""A microphone that knows nothing of tiercut: it publishes 16-bit samples on a topic, 100 ms in each message."""

import argparse
import time
import wave

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

parser = argparse.ArgumentParser(description="publish a WAV file on MQTT as if a microphone heard it")
parser.add_argument("path", nargs="?", default="recordings/speech.wav")
parser.add_argument("--topic", default="microphones/kitchen")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=1883)
parser.add_argument("--speed", type=float, default=1.0, help="2: twice as fast as it was recorded")
args = parser.parse_args()

client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
client.connect(args.host, args.port)
client.loop_start()
start_s, sent_s = time.monotonic(), 0.0
with wave.open(args.path) as recording:
    while samples := recording.readframes(recording.getframerate() // 10):
        sent_s += 0.1 / args.speed
        time.sleep(max(0.0, start_s + sent_s - time.monotonic()))  # as fast as it was recorded
        client.publish(args.topic, samples, qos=1).wait_for_publish()
client.disconnect()
