"""What a smart watch says: a recording of it (CSV, 50 readings per second) as lines of JSON, two per second."""

import csv
import json
import math
import sys

READINGS = 25

with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - a script of the image's, as short as it can be
    rows = list(csv.DictReader(file))
for start in range(0, len(rows) - READINGS + 1, READINGS):
    part = rows[start : start + READINGS]
    acc = {axis: [round(1000 * float(row[f"acc_{axis}"])) for row in part] for axis in "xyz"}
    gyro = {axis: [round(math.degrees(float(row[f"gyro_{axis}"])), 1) for row in part] for axis in "xyz"}
    print(json.dumps({"acc": acc, "gyro": gyro}, separators=(",", ":")))  # noqa: T201 - its output is the file
