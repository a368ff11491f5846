"""What a smart watch says: a recording of it (CSV, 50 readings per second) as lines of JSON, two per second."""
# ruff: noqa: INP001, T201 - a script that the image runs once; its output is the file

import csv
import json
import math
import sys
from pathlib import Path

READINGS = 25

with Path(sys.argv[1]).open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
for start in range(0, len(rows) - READINGS + 1, READINGS):
    part = rows[start : start + READINGS]
    acc = {axis: [round(1000 * float(row[f"acc_{axis}"])) for row in part] for axis in "xyz"}
    gyro = {axis: [round(math.degrees(float(row[f"gyro_{axis}"])), 1) for row in part] for axis in "xyz"}
    print(json.dumps({"acc": acc, "gyro": gyro}, separators=(",", ":")))
