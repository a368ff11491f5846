"""Fields that several messages have."""

from __future__ import annotations

from tiercut.asyncapi.shapes import count, name, one_of, table, text
from tiercut.plan import TIERS

STREAM = name("The stream.")
MODEL = text("Identity of the model: SHA-256 of its bundle.", pattern="^[0-9a-f]{64}$")
VARIANT = text("Variant of the model: full, an early exit, or another input size.")
CUT = count("Cut point of the model.")
TIME = text("UTC, ISO 8601.", format="date-time")
TIER = one_of(*TIERS)
FRAMES = table(count(), "Counters: captured, done, dropped.<reason>.")
