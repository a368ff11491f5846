"""Fixtures that several files of tests use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiercut
from tests.models import ARCHITECTURES, chain_module, image
from tiercut.model.preprocess import FrameSpec

LABELS = ("cat", "dog", "fox", "owl")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A program that ran inside a test has sent all logs to that test's standard error, which ends with the test."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:  # pytest's own are of its own classes
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small image models: ``chain`` with labels, ``residual`` without."""
    folder = tmp_path_factory.mktemp("bundles")
    torch.manual_seed(0)  # the same weights whichever tests ran before
    frame = FrameSpec(size=(16, 16), resize="stretch", mean=(127.0,), std=(128.0,))
    tiercut.export(chain_module().eval(), (image(),), folder / "chain", labels=LABELS, preprocess=frame)
    module, example = ARCHITECTURES["residual"]()
    small = FrameSpec(size=(8, 8), resize="stretch", mean=(127.0,), std=(128.0,))
    tiercut.export(module, example, folder / "residual", preprocess=small)
    return folder


class _TwoViews(torch.nn.Module):
    """Two pictures, each through one convolution, put together by their maximum (DDNN's way)."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.head = torch.nn.Linear(4, len(LABELS))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        seen: torch.Tensor = self.eye(pictures).relu().mean(dim=(2, 3))
        return torch.softmax(self.head(seen.amax(dim=0, keepdim=True)), dim=1)


@pytest.fixture(scope="session")
def views(bundles: Path) -> tiercut.Bundle:
    """The model ``views``, of two pictures."""
    frame = FrameSpec(size=(16, 16), views=2, mean=(127.0,), std=(128.0,))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = _TwoViews().eval()
    return tiercut.export(module, None, bundles / "views", labels=LABELS, preprocess=frame)


@pytest.fixture(scope="session")
def chain(bundles: Path) -> tiercut.Bundle:
    """The model ``chain``."""
    return tiercut.Bundle.load(bundles / "chain")


@pytest.fixture(scope="session")
def residual(bundles: Path) -> tiercut.Bundle:
    """The model ``residual``."""
    return tiercut.Bundle.load(bundles / "residual")
