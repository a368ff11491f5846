"""Every error that tiercut raises, in one tree.

    TiercutError                 what was expected, what came, what to do
    ├── SettingsError      2     a setting, flag or file of settings is wrong
    ├── BundleError        4     a bundle on disk is missing, damaged or of another version
    │   └── ChecksumError  4     a file of a bundle is not the one it was written with
    ├── ExportError        4     a model cannot become a bundle
    ├── CutError           4     a cut point or segment that the bundle does not have
    ├── InputError         4     tensors that do not fit the segment they are given to
    ├── DataError          4     labelled or calibration data that is missing, damaged or does not fit the model
    ├── BusError           5     the bus on our side: not there, refused, closed
    │   ├── BrokerUnreachable 5  nothing answers at the address
    │   ├── BrokerRefused     5  the broker answers, and says no
    │   ├── PublishRefused    5  the broker did not take one message
    │   └── PacketTooLarge    5  one message is over the broker's limit
    ├── SensorError        6     a sensor cannot be opened or read
    └── BadMessage         7     *their* fault: bytes from the bus that are no valid message
        ├── BadEnvelope    7     the envelope around the tensors
        ├── BadTensor      7     one tensor: codec, type, shape, size
        └── BadChunk       7     a piece of a message that was sent in pieces

The number is the exit status of a program that ends with the error. A ``BadMessage`` never ends a node: it is counted
under its ``reason`` and the message is set aside.
"""

from __future__ import annotations

from typing import ClassVar


class TiercutError(Exception):
    """An error written for the person who reads it.

    Args:
        what: What failed, as a short phrase ("cannot load the bundle 'x'").
        expected: What should have been there.
        came: What was there instead.
        fix: What the reader can do, as an imperative phrase.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, expected: str, came: str, fix: str) -> None:
        super().__init__(what, expected, came, fix)
        self.what = what
        self.expected = expected
        self.came = came
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, got {self.came}; {self.fix}"


class SettingsError(TiercutError):
    """A setting, flag or file of settings is wrong."""

    exit_status = 2


class BundleError(TiercutError):
    """A bundle on disk is missing, damaged or of another version."""

    exit_status = 4


class ChecksumError(BundleError):
    """A file of a bundle is not the one the bundle was written with."""


class ExportError(TiercutError):
    """A model cannot become a bundle."""

    exit_status = 4


class CutError(TiercutError):
    """A cut point or a segment that the bundle does not have."""

    exit_status = 4


class InputError(TiercutError):
    """Tensors that do not fit the segment they are given to."""

    exit_status = 4


class DataError(TiercutError):
    """Labelled or calibration data that is missing, damaged, too little, or does not fit the model."""

    exit_status = 4


class BusError(TiercutError):
    """The bus failed on our side."""

    exit_status = 5


class BrokerUnreachable(BusError):
    """Nothing answers at the broker's address."""


class BrokerRefused(BusError):
    """The broker answers, and refuses the connection."""


class PublishRefused(BusError):
    """The broker did not take a message."""


class PacketTooLarge(BusError):
    """A message is over the broker's Maximum Packet Size."""


class SensorError(TiercutError):
    """A sensor cannot be opened or read."""

    exit_status = 6


class BadMessage(TiercutError):
    """Bytes from the bus that are no valid message: counted under ``reason``, set aside, never fatal.

    Args:
        reason: Name of the counter, ``lower_snake_case``, from a fixed and small set (never text of the sender's).
    """

    exit_status = 7

    def __init__(self, what: str, *, expected: str, came: str, fix: str, reason: str) -> None:
        super().__init__(what, expected=expected, came=came, fix=fix)
        self.reason = reason


class BadEnvelope(BadMessage):
    """The envelope around the tensors is not valid."""


class BadTensor(BadMessage):
    """A tensor in an envelope is not valid."""


class BadChunk(BadMessage):
    """A piece of a message that was sent in pieces is not valid."""


def refuse(reason: str, *, expected: str, came: object, what: str = "a message is not valid") -> BadEnvelope:
    """The error for a message that does not fit; ``came`` is quoted shortened, as it is the sender's text."""
    shown = came if isinstance(came, (int, float)) else repr(came)[:80]
    return BadEnvelope(what, expected=expected, came=str(shown), fix="correct the sender", reason=reason)
