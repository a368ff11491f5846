"""``tiercut exits train`` as a person types it."""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.exit_data import write_quarters
from tiercut.cli import exits
from tiercut.cli.training_view import Bar, Lines
from tiercut.errors import CutError, DataError, SettingsError
from tiercut.exits.recipe import Progress
from tiercut.model.bundle import Bundle

QUICK = ["--epochs", "2", "--batch", "8", "--rate", "0.01"]


def tiercut(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    exits.add_parser(parser.add_subparsers())
    args = parser.parse_args(["exits", "train", *map(str, words)])
    status = args.run(args)
    assert isinstance(status, int)
    return status


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled frames, divided into train and test."""
    (tmp_path / "data").mkdir()
    return write_quarters(tmp_path / "data")


def test_bundle_gets_exits_where_told(
    chain: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = chain.cuts[9].after or ""
    assert (
        tiercut(chain.folder, "--data", data, "-o", tmp_path / "b", "--at", f"6,{name}", "--name", "mine", *QUICK) == 0
    )
    bundle = Bundle.load(tmp_path / "b")
    assert (bundle.name, [spec.cut for spec in bundle.exits]) == ("mine", [6, 9])
    said = capsys.readouterr()
    assert bundle.model in said.out
    assert "accuracy on 160 held-back frames" in said.out
    assert f"{bundle.leaving[0].shares['exit1']:.1%}" in said.out
    assert "epoch 2/2" in said.err


def test_model_is_exported_first(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from tests.models import chain_module\ndef net(): return chain_module()\n")
    flags = ["--image-size", "16x16", "--mean", "127", "--std", "128", "--exits", "1", "--name", "mine"]
    assert tiercut("mine:net", "--data", data, "-o", "b", *flags, *QUICK) == 0
    bundle = Bundle.load("b")
    assert (bundle.name, len(bundle.exits)) == ("mine", 1)
    assert "mine: heads at cut" in capsys.readouterr().err


def test_frames_without_labels_train_frozen_and_are_held_back_in_part(
    chain: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 255, (300, 16, 16, 3), dtype=np.uint8))
    assert tiercut(chain.folder, "--data", tmp_path, "-o", tmp_path / "b", "--frozen", *QUICK) == 0
    said = capsys.readouterr()
    assert "agreement with the full model (there are no labels) on 60 held-back frames" in said.out
    assert "on 240 frames, measured on 60" in said.err


def test_what_is_wrong_is_said_and_nothing_is_written(chain: Bundle, data: Path, tmp_path: Path) -> None:
    words = (chain.folder, "--data", data, "-o", tmp_path / "b")
    with pytest.raises(CutError, match="no such cut"):
        tiercut(*words, "--at", "99")
    with pytest.raises(CutError, match="cannot attach 0 heads"):
        tiercut(*words, "--exits", "0")
    with pytest.raises(SettingsError, match="--weights"):
        tiercut(*words, "--weights", "1,x")
    with pytest.raises(SettingsError, match="--image-size"):
        tiercut(*words, "--image-size", "16x16")
    with pytest.raises(SettingsError, match="recipe's 'epochs'"):
        tiercut(*words, "--epochs", "0")
    with pytest.raises(SettingsError, match="--frames"):
        tiercut(*words, "--frames", "10")
    shutil.rmtree(data)
    with pytest.raises(DataError, match="nothing there"):
        tiercut(*words)
    assert not list(tmp_path.iterdir())


def progress(part: float, *, done: bool) -> Progress:
    accuracy = {"exit1": 0.5, "full": 0.75} if done else {}
    return Progress(epoch=2, epochs=4, part=part, loss=0.25, accuracy=accuracy, seconds=30, seconds_left=90)


def test_lines_are_one_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    view = Lines()
    view.report(progress(0.4, done=False))
    view.report(progress(0.5, done=True))
    assert capsys.readouterr().err == "epoch 2/4  loss 0.250  exit1 50.0%  full 75.0%  1:30 left\n"


def test_bar_shows_loss_and_time_left() -> None:
    file = io.StringIO()
    with Bar(Console(file=file, force_terminal=True, width=100)) as bar:
        bar.note("heads at cut 7 [frozen]")
        bar.report(progress(0.5, done=True))
        bar.report(progress(0.6, done=False))
    text = file.getvalue()
    assert "heads at cut 7 [frozen]" in text
    assert "exit1 50.0%" in text
    assert "loss 0.250  1:30 left" in text
