"""A training's checkpoint beside its target, so that an interruption costs at most half a minute."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tiercut.errors import SettingsError
from tiercut.files import write_whole

_FORMAT = "tiercut-training/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a training.

    Attributes:
        step: Steps done.
        network: Its weights.
        optimizer: The optimiser's own.
    """

    step: int
    network: Mapping[str, Any]
    optimizer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with the state of one training.

    Attributes:
        path: The file.
        settings: All that the result depends on, by what people call it.
    """

    path: Path
    settings: Mapping[str, str]

    def load(self) -> State | None:
        """The state of an earlier run; ``None``: there is no file.

        Raises:
            SettingsError: it is damaged, or of a training with other settings.
        """
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            settings, step = dict(found["settings"]), int(found["step"])
            state = State(step=step, network=found["network"], optimizer=found["optimizer"])
            known = found["format"] == _FORMAT
        except (OSError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError) as error:
            raise self._unusable("a whole file", str(error).splitlines()[0][:120] if str(error) else "none") from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise self._unusable("a training's state", f"{type(error).__name__}: {error}"[:120]) from error
        if not known:
            raise self._unusable(_FORMAT, str(found["format"])[:40])
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise self._unusable(f"{name} {value}", str(settings.get(name)))
        return state

    def save(self, state: State) -> None:
        """Write it whole, in place of the one before."""
        file = io.BytesIO()
        state_fields = {field: getattr(state, field) for field in ("step", "network", "optimizer")}
        torch.save({"format": _FORMAT, "settings": dict(self.settings), **state_fields}, file)
        write_whole(self.path, file.getvalue())

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)

    def _unusable(self, expected: str, came: str) -> SettingsError:
        return SettingsError(
            f"cannot go on from '{self.path}'",
            expected=expected,
            came=came,
            fix="give the settings that it was started with, or delete the file to start again",
        )
