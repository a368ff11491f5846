"""Writing a file so that readers see the old or the new one, never half of one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tiercut.errors import SettingsError


def write_whole(
    path: Path, data: bytes, *, what: str = "", mode: int = 0o666, owner: tuple[int, int] | None = None
) -> None:
    """Write a file whole or not at all; the folder is made if it is not there.

    Args:
        path: Where.
        data: What stands in it.
        what: What it is, for the error.
        mode: Its permissions, less the process's umask; it never has more, not even for a moment.
        owner: User and group that it is to belong to (default: ours).

    Raises:
        SettingsError: it cannot be written.
    """
    stage = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                if owner is not None:
                    os.chown(file.fileno(), *owner)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            stage.replace(path)
        finally:
            stage.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot write {what}'{path}'",
            expected="a folder that can be written",
            came=(error.strerror or str(error)).lower(),
            fix="choose another folder",
        ) from error
