"""Several plans of one stream, as they are published and compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.coordinating import goal
from tests.full_sites import crowd, works
from tiercut.coordinator.mix import Mix


def test_mix_is_published_and_heard_as_it_is() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    message = mix.message(stream="cam0", model=goal().model, model_name="m", reason="why")
    assert Mix.heard(message) == mix
    assert sum(share for _, share in message.mix) == pytest.approx(1)


def test_mixes_are_alike_within_limits() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    rate = mix.frames_per_second or 0.0
    assert mix.numbered(9).alike(mix)
    assert not mix.alike(None)
    assert replace(mix, frames_per_second=1.05 * rate).alike(mix)
    assert not replace(mix, frames_per_second=1.2 * rate).alike(mix)
    assert not replace(mix, frames_per_second=None).alike(mix)
    assert not replace(mix, plans=mix.plans[:1]).alike(mix)
