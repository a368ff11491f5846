"""A smart watch that knows nothing of tiercut: a message per reading, in thousandths of g and degrees per second."""

import argparse
import csv
import json
import math
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

parser = argparse.ArgumentParser(description="publish a recording on MQTT as a watch would")
parser.add_argument("path", nargs="?", type=Path, default=Path("recordings/exercises.csv"))
parser.add_argument("--apart", action="store_true", help="acceleration and rotation on a topic each")
parser.add_argument("--without", metavar="TOPIC", help="omit this one, as if its sensor were broken")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=1883)
parser.add_argument("--speed", type=float, default=1.0, help="2: twice as fast as it was recorded")
args = parser.parse_args()

client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
client.connect(args.host, args.port)
client.loop_start()
start_s = time.monotonic()
with args.path.open(encoding="utf-8") as file:
    for number, row in enumerate(csv.DictReader(file)):
        time.sleep(max(0.0, start_s + number / 50 / args.speed - time.monotonic()))  # as fast as it was recorded
        acc = [round(1000 * float(row[f"acc_{axis}"])) for axis in "xyz"]
        gyro = [round(math.degrees(float(row[f"gyro_{axis}"])), 1) for axis in "xyz"]
        readings = {"watch/motion": {"acc": acc, "gyro": gyro}}
        if args.apart:
            readings = {"accelerometer/wrist": dict(zip("xyz", acc, strict=True))}
            readings["gyroscope/wrist"] = dict(zip("xyz", gyro, strict=True))
        for topic, reading in readings.items():
            if topic != args.without:
                client.publish(topic, json.dumps(reading), qos=1).wait_for_publish()
client.disconnect()
