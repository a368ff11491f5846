"""The folders of identities: where their files are, whom they belong to, how they are written and copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tiercut.errors import SettingsError
from tiercut.files import write_whole
from tiercut.security import certificates
from tiercut.security.identity_list import IdentityName

CA_FILE, CERT_FILE, KEY_FILE, LOCK_FILE = "ca.pem", "cert.pem", "key.pem", ".lock"
#: A broker's authorities, one file each.
CA_FOLDER = "ca.d"
#: Who may read what is not ours: user and group, ``None`` for those of this process.
Owner = tuple[int, int] | None


class IdentityFiles:
    """The files of identities, below the folder of their authority.

    Args:
        folder: That folder.
        owner: Owner of identities' files.
        bus_owner: The same for brokers' files.
    """

    def __init__(self, folder: Path, *, owner: Owner = None, bus_owner: Owner = None) -> None:
        self._folder = folder
        self._owner = owner
        self._bus_owner = bus_owner or owner

    def path_of(self, identity: IdentityName) -> Path:
        """Its folder."""
        return self._folder / identity.site / identity.role / identity.name

    def make_folder(self, identity: IdentityName, name: str = "") -> Path:
        """Its folder, or one in it, there if it was not."""
        folder = self.path_of(identity) / name
        make_folder(folder, self._owner_of(identity))
        return folder

    def certificate(self, identity: IdentityName) -> certificates.Certificate | None:
        """Its certificate; ``None`` where there is none that can be read."""
        try:
            return certificates.load_certificates((self.path_of(identity) / CERT_FILE).read_bytes())[0]
        except (OSError, ValueError):
            return None

    def key(self, identity: IdentityName) -> certificates.Key | None:
        """Its key; ``None`` where there is none that can be read."""
        try:
            return certificates.load_key((self.path_of(identity) / KEY_FILE).read_bytes())
        except (OSError, ValueError, TypeError):
            return None

    def write(self, identity: IdentityName, name: str, data: bytes) -> None:
        """Another file of an identity, with its owner; nothing is done when it is there already."""
        path = self.path_of(identity) / name
        if not path.exists() or path.read_bytes() != data:
            self.replace(identity, name, data)

    def replace(self, identity: IdentityName, name: str, data: bytes) -> None:
        """A file of an identity, written whole."""
        path = self.path_of(identity) / name
        write_whole(path, data, what="a file of an identity: ", mode=0o600, owner=self._owner_of(identity))

    def copy(self, identity: IdentityName, to: Path) -> None:
        """Copy an identity's files into another folder, such as one to take to its machine."""
        make_folder(to, None)
        folder = self.path_of(identity)
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            copied = to / path.relative_to(folder)
            make_folder(copied.parent, None)
            if path.name != LOCK_FILE or not copied.exists():  # a node may hold the one that is there
                write_whole(copied, path.read_bytes(), what="a copy ", mode=0o600)

    def delete(self, identity: IdentityName) -> None:
        """Delete its files, and its folder where nothing else is in it."""
        folder = self.path_of(identity)
        for name in (CERT_FILE, KEY_FILE, CA_FILE, LOCK_FILE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / CA_FOLDER, ignore_errors=True)
        if folder.exists() and not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)

    def _owner_of(self, identity: IdentityName) -> Owner:
        """As asked for, or as its folder has it: root must not take files away from their owner."""
        given = self._bus_owner if identity.role == "bus" else self._owner
        folder = self.path_of(identity)
        if given is None and os.geteuid() == 0 and folder.exists():
            found = folder.stat()
            return found.st_uid, found.st_gid
        return given


def make_folder(folder: Path, owner: Owner) -> None:
    """A folder that only its owner may look into; one that is there (a mount) keeps its permissions."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if owner is not None:
            os.chown(folder, *owner)
    except OSError as error:
        raise SettingsError(
            f"cannot make the folder '{folder}'",
            expected="a folder that can be written, and root's rights for --owner",
            came=(error.strerror or str(error)).lower(),
            fix="choose another folder or user",
        ) from error
