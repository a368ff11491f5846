"""What a site gives, what it could give, and what it is short of: retained JSON for people and ``tiercut watch``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Figure = Annotated[float, Meta(ge=0)]


class StreamRoom(Struct, frozen=True, kw_only=True):
    """One stream's part of it, in frames per second.

    Attributes:
        asked: What its sensor gives; null where that is as many as are taken.
        room: What the site has room for; null where the stream is planned by itself.
        measured: Results of the last five seconds.
        ways: How many plans its frames follow at the same time.
    """

    asked: Figure | None
    room: Figure | None
    measured: Figure
    ways: Annotated[int, Meta(ge=0)]


class SiteCapacity(Struct, frozen=True, kw_only=True):
    """A site's streams together, in frames per second.

    Attributes:
        message: The figures in a sentence.
        measured: Results of the last five seconds, of all streams.
        planned: What the plans of all streams give, as planned; null before that is known.
        bound: What no plan of all streams exceeds; null likewise.
        edges_alone: What edges alone would give, where all frames were computed there; null likewise.
        cloud_alone: The same of cloud nodes.
        devices_alone: The same of devices.
        as_one: The site is full, and its streams are planned as one.
        load: Part of its time that each node, link and shared line is busy, as planned.
        short: What there is too little of, in sentences.
        streams: By name.
        found_lines: Lines that hops seem to share although nobody has declared them, in sentences.
    """

    message: str
    measured: Figure
    planned: Figure | None
    bound: Figure | None
    edges_alone: Figure | None
    cloud_alone: Figure | None
    devices_alone: Figure | None
    as_one: bool
    load: dict[str, Figure]
    short: list[str]
    streams: dict[str, StreamRoom]
    found_lines: list[str] | UnsetType = UNSET
