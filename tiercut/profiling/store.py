"""Profiles on disk, by model and machine: JSON, "tiercut-profile/1"."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiercut.declared import read_format
from tiercut.errors import BadEnvelope, SettingsError
from tiercut.files import write_whole
from tiercut.profiling.profile import Profile, bad_profile

FORMAT = "tiercut-profile/1"
#: A model of 10,000 nodes with 9 codecs at each takes 15 MB; larger files are no profiles.
MAX_FILE_BYTES = 32_000_000


class ProfileStore:
    """A folder of profiles, ``<model>/<machine>.json``.

    Args:
        folder: Made when the first profile is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, model: str, machine: str) -> Path:
        """Where the profile of a model on a machine (`Machine.id`) is.

        Raises:
            SettingsError: a name that would lead out of the folder.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", model) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", machine):
            raise SettingsError(
                "a profile cannot be kept there",
                expected="a model's 64 hex digits and a machine's id",
                came=f"{model[:80]!r}, {machine[:80]!r}",
                fix="take both from a bundle and 'machine_id()'",
            )
        return self.folder / model / f"{machine}.json"

    def save(self, profile: Profile) -> Path:
        """Write one; a reader meets the old or the new file, never half of one.

        Raises:
            SettingsError: the folder cannot be written.
        """
        path = self.path(profile.model, profile.machine.id)
        write_whole(path, json.dumps(to_document(profile), indent=1, ensure_ascii=False).encode(), what="the profile ")
        return path

    def load(self, model: str, machine: str) -> Profile | None:
        """Read one, ``None`` where there is none.

        Raises:
            SettingsError: the file is damaged, of another version, or of another model.
        """
        path = self.path(model, machine)
        if not path.is_file():
            return None
        profile = read_profile(path)
        if (profile.model, profile.machine.id) != (model, machine):
            came = f"model {profile.model[:16]}… on {profile.machine.id}"
            raise bad_profile(f"the profile that '{path}' names", came)
        return profile


def read_profile(path: Path) -> Profile:
    """Read a profile from a file.

    Raises:
        SettingsError: it is not there, damaged, or of another version.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise bad_profile(f"at most {MAX_FILE_BYTES} bytes in '{path}'", f"{path.stat().st_size}")
        return from_document(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise bad_profile(f"a file at '{path}'", (error.strerror or str(error)).lower()) from error
    except (ValueError, RecursionError) as error:
        raise bad_profile(f"JSON in '{path}'", str(error)[:80]) from error


def to_document(profile: Profile) -> dict[str, Any]:
    """The profile as JSON has it; one that says nothing of memory looks as it did before profiles did."""
    fields = asdict(profile)
    if not profile.memory:
        del fields["memory"]
    return {"format": FORMAT} | fields


def from_document(document: object) -> Profile:
    """The profile that a document says; fields that it does not know are ignored.

    Raises:
        SettingsError: a field is missing, of another type or out of bounds.
    """
    try:
        return read_format(Profile, document, FORMAT)
    except BadEnvelope as error:
        raise bad_profile(error.expected, error.came) from error
