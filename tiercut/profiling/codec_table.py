"""What each codec costs at each cut of one model: the table's types; `codec_table_file` keeps it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tiercut.codecs.noise import split_name
from tiercut.errors import BundleError, SettingsError
from tiercut.profiling.machine import Machine

Reference = Literal["labels", "agreement"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecRow:
    """What one codec makes of all tensors of one cut, and what the model then makes of those.

    Attributes:
        codec: Its name, with the noise in front of it.
        cut: The cut, of the whole model (variant ``full``).
        bytes: Size afterwards, mean over frames.
        encode_seconds: Median over frames.
        decode_seconds: Median over frames.
        accuracy_drop: Top-1 accuracy lost, or frames whose answer is another; below 0 where it came out better.
        accuracy_drop_std: Standard error of that, from the number of frames.
        noise: Scale of the noise that it adds.
    """

    codec: str
    cut: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    accuracy_drop: float = 0.0
    accuracy_drop_std: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        counts = self.cut >= 0 and self.bytes >= 0
        numbers = (self.encode_seconds, self.decode_seconds, self.accuracy_drop_std)
        if not counts or not all(math.isfinite(each) and each >= 0 for each in numbers):
            raise bad_table("cut, bytes, seconds and standard errors >= 0", f"{self.codec} at cut {self.cut}")
        if not -1 <= self.accuracy_drop <= 1:
            raise bad_table("an accuracy_drop of -1 to 1", f"{self.accuracy_drop} of {self.codec} at cut {self.cut}")
        try:
            said = split_name(self.codec)[0]
        except SettingsError as error:
            raise bad_table(error.expected, error.came) from error
        if said != self.noise or not re.fullmatch(r"[A-Za-z0-9+\-_.]{1,64}", self.codec):
            raise bad_table("a codec's name with its noise", f"{self.codec[:80]!r} with noise {self.noise}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecTable:
    """All that was measured of one model.

    Attributes:
        model: Identity of the bundle.
        model_name: What people call it.
        rows: By cut, then codec.
        frames: How many frames it was measured on.
        reference: With what answers were compared: ``labels``, or ``agreement`` with the model without a codec.
        accuracy: Top-1 accuracy of the model without a codec on these frames; 1 for ``agreement``.
        variants: The same of every way through the model, ``full`` among them.
        date: Day it was made, ISO 8601.
        machine: Where; the times are of it.
    """

    model: str
    model_name: str
    rows: tuple[CodecRow, ...]
    frames: int
    reference: Reference
    accuracy: float
    date: str
    machine: Machine
    variants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES or self.frames < 1:
            raise bad_table(f"a reference of {REFERENCES}, and frames", f"{self.reference!r}, {self.frames}"[:80])
        if not all(0 <= each <= 1 for each in (self.accuracy, *self.variants.values())):
            raise bad_table("accuracies of 0 to 1", f"{self.accuracy}, {dict(self.variants)}"[:80])
        if len({(row.codec, row.cut) for row in self.rows}) < len(self.rows):
            raise bad_table("one row per codec and cut", "two of the same")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts that were measured."""
        return tuple(sorted({row.cut for row in self.rows}))

    def rows_for(self, cut: int) -> tuple[CodecRow, ...]:
        """What was measured at a cut."""
        return tuple(row for row in self.rows if row.cut == cut)


def bad_table(expected: str, came: str, path: Path | None = None) -> BundleError:
    """The error for a table that does not hold together."""
    what = f"the codec table '{path}' is not valid" if path else "a codec table is not valid"
    return BundleError(what, expected=expected, came=came, fix="run 'tiercut codecs measure' again")
