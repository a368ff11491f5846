"""Types of fields that several messages have, each with its limit and the ``reason`` of a message that breaks it.

A message is a frozen ``msgspec.Struct`` of such fields; `tiercut.declared` reads and writes them.
"""

from __future__ import annotations

import sys
from copy import copy
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from tiercut.limits import MAX_INTEGER, MAX_SECONDS, MAX_SENTENCE, MAX_TEXT, MAX_UNIX_S
from tiercut.names import NAME

T = TypeVar("T")


def reason(name: str) -> Meta:
    """What a message is refused for when a value is not within the limits beside it, or not one of the choices."""
    return Meta(extra={"reason": name})


def always(value: T) -> T:
    """A default that is written all the same, in a class with ``omit_defaults``."""
    made: T = msgspec.field(default_factory=lambda: copy(value))
    return made


#: A site, node, stream or counter: one level of a topic.
Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}\Z", extra={"reason": "bad_name"})]
ShortText = Annotated[str, Meta(max_length=MAX_TEXT, extra={"reason": "bad_text"})]
#: For people. Constructors cut own ones to the limit: `declared.cut_sentence`.
Sentence = Annotated[str, Meta(max_length=MAX_SENTENCE, extra={"reason": "bad_text"})]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
#: NaN and the infinities are none of these.
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e3 * MAX_SECONDS)]
UnixTime = Annotated[float, Meta(ge=0, le=MAX_UNIX_S, extra={"reason": "bad_clock"})]
#: UTC, ISO 8601: `declared.iso_time` makes one.
IsoTime = Annotated[
    str, Meta(max_length=MAX_TEXT, extra={"reason": "bad_clock"}, extra_json_schema={"format": "date-time"})
]
Confidence = Annotated[float, Meta(ge=0, le=1)]
#: Identity of a model: SHA-256 of its bundle. Whether there is such a model shows when it is looked for.
ModelId = Annotated[
    str, Meta(max_length=MAX_TEXT, extra={"reason": "bad_text"}, extra_json_schema={"pattern": "^[0-9a-f]{64}$"})
]
#: A bundle's learned codecs have names of their own: whether there is such a codec shows when a tensor is decoded.
CodecName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+\-_.]{1,64}\Z", extra={"reason": "unknown_codec"})]
