"""What commands that train have in common: the packages that they need, and how many cores they take."""

from __future__ import annotations

import importlib.util
import os

from tiercut.errors import SettingsError


def need_packages(*modules: str) -> None:
    """Check that modules can be imported.

    Raises:
        SettingsError: one is not installed.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            "this command needs packages that are not installed",
            expected=f"the modules {', '.join(modules)}",
            came=f"no '{missing[0]}'",
            fix="run 'pip install tiercut[train] -c constraints.txt'",
        )


def usual_threads() -> int:
    """As many threads as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
