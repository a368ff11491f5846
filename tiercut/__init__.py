"""tiercut: one neural network across a sensor, an edge box and a cloud.

``import tiercut`` costs nothing: a name below is imported when it is first used, torch only by `export`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from tiercut.errors import (
    BadMessage,
    BundleError,
    BusError,
    ChecksumError,
    CutError,
    ExportError,
    InputError,
    SensorError,
    SettingsError,
    TiercutError,
)

#: ONNX Runtime 1.29 and newer report what they run to its makers unless told not to (its Privacy.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from tiercut.authoring.export import ModelSource, export
    from tiercut.model.bundle import Bundle
    from tiercut.model.cuts import CutPoint, TensorSpec
    from tiercut.model.preprocess import FrameSpec
    from tiercut.model.segments import Segment, SegmentCache
    from tiercut.planner.document import solve

__version__ = "0.1.0"

__all__ = [
    "BadMessage",
    "Bundle",
    "BundleError",
    "BusError",
    "ChecksumError",
    "CutError",
    "CutPoint",
    "ExportError",
    "FrameSpec",
    "InputError",
    "ModelSource",
    "Segment",
    "SegmentCache",
    "SensorError",
    "SettingsError",
    "TensorSpec",
    "TiercutError",
    "export",
    "solve",
]

_HOMES = {
    "Bundle": "model.bundle",
    "CutPoint": "model.cuts",
    "FrameSpec": "model.preprocess",
    "ModelSource": "authoring.export",
    "Segment": "model.segments",
    "SegmentCache": "model.segments",
    "TensorSpec": "model.cuts",
    "export": "authoring.export",
    "solve": "planner.document",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'tiercut' has no attribute '{name}'"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"tiercut.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
