"""Memory of live nodes: a model that none of them holds alone runs cut, and what does not fit is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiercut
from broker.node import Hub
from broker.settings import Settings as HubSettings
from tests.aio import async_test
from tests.sites import Outcomes, Site, new_site, noise
from tiercut.model.bundle import Bundle
from tiercut.model.memory import graph_memory
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import StreamSettings

WIDTH, LAYERS = 400, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``heavy``: twelve layers of 640 kB each, 7.8 MB in all."""
    path = tmp_path_factory.mktemp("heavy")
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    module = nn.Sequential(nn.Flatten(), nn.Linear(300, WIDTH), *layers, nn.Linear(WIDTH, 4)).eval()
    frame = FrameSpec(size=(10, 10), resize="stretch", mean=(127.0,), std=(128.0,))
    tiercut.export(module, (torch.randn(1, 3, 10, 10),), path / "heavy", labels=list("abcd"), preprocess=frame)
    return path


@pytest.fixture(scope="module")
def heavy(folder: Path) -> Bundle:
    return Bundle.load(folder / "heavy")


def whole_mb(bundle: Bundle) -> float:
    return graph_memory(bundle).needed_mb(0, bundle.end)


def hub(site: Site, **more: Any) -> Hub:
    wanted = StreamSettings(name="cam", model="heavy", device="d", **more)
    return Hub(HubSettings(**site.common("hub", streams=(wanted,))), open_bus=site.opener("hub"))


def explanation(outcomes: Outcomes) -> dict[str, Any]:
    said = [each for each in outcomes.deliveries if each.topic.endswith("/explain")]
    return dict(json.loads(said[-1].payload)) if said else {}


async def until(found: Any) -> None:
    while not found():  # noqa: ASYNC110 - what a node knows has no event
        await asyncio.sleep(0.02)


@async_test
async def test_model_that_no_node_holds_alone_runs_cut(folder: Path, heavy: Bundle) -> None:
    site, whole = new_site(folder), whole_mb(heavy)
    device = site.device(noise(heavy), memory_mb=0.45 * whole)
    edge = site.edge(memory_mb=0.75 * whole)
    async with site.running(edge, device, hub(site)) as outcomes:
        await outcomes.until(results=10)
    assert outcomes.seqs() == list(range(10))
    plan = outcomes.results[0]["plan"]
    assert (plan["device"], plan["edge"], plan["cloud"]) == ("d", "e", None)
    memory = graph_memory(heavy)
    assert memory.needed_mb(0, plan["first_cut"]) <= 0.45 * whole
    assert memory.needed_mb(plan["first_cut"], heavy.end) <= 0.75 * whole
