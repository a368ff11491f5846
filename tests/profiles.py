"""Profiles with given times, for tests of what uses them."""

from __future__ import annotations

from tiercut.profiling.machine import Machine
from tiercut.profiling.profile import CodecPoint, Profile, Source

MACHINE = Machine(cpu="Test CPU @ 1.0", cores=2, arch="x86_64", runtime="1.0", threads=1)


def profile_of(
    cut_seconds: tuple[float, ...], *, source: Source = "measured", codecs: tuple[CodecPoint, ...] = ()
) -> Profile:
    """A profile of a model that does not exist."""
    return Profile(
        model="ab" * 32,
        model_name="m",
        machine=MACHINE,
        source=source,
        cut_seconds=cut_seconds,
        cut_bytes=tuple(1000 * (k + 1) for k in range(len(cut_seconds))),
        codecs=codecs,
    )
