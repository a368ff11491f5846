"""What the figures were measured on."""

from __future__ import annotations

import compileall
import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "onnxruntime", "mqtt5", "paho-mqtt", "msgspec", "zstandard", "pillow")

PROGRAMS = ("tiercut", "iot_node", "edge_node", "cloud_node", "broker")


def machine() -> str:
    """Processor, cores, Python and the packages that matter, in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"{next(names, platform.machine())}, {cores} cores, Python {platform.python_version()}, {packages}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def compile_programs() -> None:
    """Compile the programs' modules, as an installer does: else each start would, where Python may not keep them."""
    for package in PROGRAMS:
        found = importlib.util.find_spec(package)
        for folder in (found and found.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=1)
