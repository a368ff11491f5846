"""Who a node is: a folder with its certificate and key, and the authorities that it trusts.

New files are used from the next connection on: no node has to be restarted when a certificate changes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import re
import ssl
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from tiercut.bus.client_tls import tls_context
from tiercut.bus.server_name import ANY_HUB
from tiercut.bus.tls_files import current
from tiercut.errors import SettingsError
from tiercut.security import certificates
from tiercut.security.identity_files import CA_FILE, CERT_FILE, KEY_FILE, LOCK_FILE
from tiercut.security.identity_list import IdentityName, Role

#: How often to look at folders that are not ready yet.
POLL_S = 0.2
_DIGITS = re.compile(r"(\d+)")
#: Identities that this process has claimed: their locks are held as long as it lives.
_claimed: list[int] = []


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity with its files.

    Attributes:
        folder: Where they are.
        name: Whose it is.
        not_after: When its certificate ends.
    """

    folder: Path
    name: IdentityName
    not_after: dt.datetime

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder.

        Raises:
            SettingsError: a file is missing, or is not what it should be.
        """
        try:
            certificate = certificates.load_certificates((folder / CERT_FILE).read_bytes())[0]
            key = certificates.load_key((folder / KEY_FILE).read_bytes())
            certificates.load_certificates((folder / CA_FILE).read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                f"no identity in '{folder}'",
                expected=f"{CA_FILE}, {CERT_FILE} and {KEY_FILE} of 'tiercut certs'",
                came=(error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error),
                fix="correct the folder, or let 'tiercut certs' write it",
            ) from error
        if not certificates.same_key(certificate, key):
            raise SettingsError(
                f"the identity in '{folder}' is inconsistent",
                expected=f"the key of {CERT_FILE}",
                came=f"another key in {KEY_FILE}",
                fix="copy both files, or renew the certificate",
            )
        return cls(folder, IdentityName.parse(certificates.common_name(certificate)), certificate.not_valid_after_utc)

    @property
    def site(self) -> str:
        """Its site."""
        return self.name.site

    @property
    def role(self) -> Role:
        """Its role."""
        return self.name.role

    @property
    def node(self) -> str:
        """Its name in site and role: a node's id."""
        return self.name.name

    @property
    def ca_file(self) -> Path:
        """The authorities that it trusts."""
        return self.folder / CA_FILE

    @property
    def cert_file(self) -> Path:
        """Its certificate."""
        return self.folder / CERT_FILE

    @property
    def key_file(self) -> Path:
        """Its key."""
        return self.folder / KEY_FILE

    @property
    def days_left(self) -> float:
        """Days that its certificate is still valid."""
        return (self.not_after - dt.datetime.now(dt.UTC)) / dt.timedelta(days=1)

    def check(self, site: str, role: Role, node: str) -> None:
        """Refuse another node's certificate before connecting.

        Raises:
            SettingsError: the certificate is for another node, or has ended.
        """
        wanted = IdentityName(site, role, node)
        if self.name != wanted:
            raise SettingsError(
                f"the certificate in '{self.folder}' is for another node",
                expected=f"'{wanted}'",
                came=f"'{self.name}'",
                fix=f"use the folder of '{wanted}', or correct the settings site and node",
            )
        if self.days_left <= 0:
            raise SettingsError(
                f"the certificate of '{wanted}' in '{self.folder}' has ended",
                expected="a certificate that is valid now",
                came=f"one that was valid until {self.not_after:%Y-%m-%d %H:%M} UTC",
                fix="renew it: tiercut certs renew",
            )

    # ------------------------------------------------------------------ TLS

    def client_context(self) -> ssl.SSLContext:
        """For an HTTPS request to a hub, with the files as they are now: ask for it again with each request."""
        return tls_context(*self._files, server=ANY_HUB)

    def server_context(self) -> ssl.SSLContext:
        """For an HTTPS server that asks for certificates of its clients; new files are used without a restart."""
        context = _server(self._files)
        context.sni_callback = partial(_use_newest, self._files)
        return context

    @property
    def _files(self) -> tuple[str, str, str]:
        return str(self.ca_file), str(self.cert_file), str(self.key_file)


def wait_for(folder: Path, timeout_s: float) -> Identity:
    """The identity in a folder, as soon as it is there; blocks.

    Raises:
        SettingsError: it is not there in time.
    """
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            return Identity.load(folder)
        except SettingsError:
            if time.monotonic() >= until_s:
                raise
        time.sleep(POLL_S)  # files that come from another container have no event


def claim(folder: Path, timeout_s: float = 0.0, *, site: str | None = None, role: Role | None = None) -> Identity:
    """One of the identities in a folder of folders, that no other process has claimed; ours as long as we live.

    Args:
        folder: Holds one folder per identity; those whose certificate has ended are passed over.
        timeout_s: How long to wait for one; blocks.
        site: Only one of this site.
        role: Only one of this role.

    Raises:
        SettingsError: there is none, or all are in use.
    """
    until_s = time.monotonic() + timeout_s
    while True:
        in_use = unfit = 0
        for each in _subfolders(folder):
            with contextlib.suppress(SettingsError):
                identity = Identity.load(each)
                if (
                    identity.days_left <= 0
                    or identity.site != (site or identity.site)
                    or role not in {None, identity.role}
                ):
                    unfit += 1
                elif _lock(each):
                    return identity
                else:
                    in_use += 1
        if time.monotonic() >= until_s:
            raise SettingsError(
                f"no free identity in '{folder}'",
                expected="a folder of an identity that no other process uses",
                came=_counted(in_use, unfit),
                fix="issue more of them ('tiercut certs site … --edges N'), or stop a node",
            )
        time.sleep(POLL_S)


def _counted(in_use: int, unfit: int) -> str:
    said = [f"{in_use}, all in use"] if in_use else []
    if unfit:
        said.append(f"{unfit} of another site or role, or with a certificate that has ended")
    return "; ".join(said) or "none"


def _subfolders(folder: Path) -> list[Path]:
    """In the order of their names, with numbers as numbers: edge-2 before edge-10."""
    try:
        found = [each for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []
    # split by a group gives text, digits, text, digits, …
    return sorted(
        found, key=lambda folder: [int(part) if i % 2 else part for i, part in enumerate(_DIGITS.split(folder.name))]
    )


def _lock(folder: Path) -> bool:
    """Take the folder's lock, which needs no right to write; false where another process (or we) has it.

    Both the folder and the file in it: a file may be copied again, and a folder mounted at two places.
    """
    handles: list[int] = []
    try:
        for path in (folder, folder / LOCK_FILE):
            if path.exists():
                handles.append(os.open(path, os.O_RDONLY))
                fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        for handle in handles:
            os.close(handle)
        return False
    _claimed.extend(handles)
    return True


def _server(files: tuple[str, str, str]) -> ssl.SSLContext:
    def build() -> ssl.SSLContext:
        ca_file, cert_file, key_file = files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca_file)
        context.load_cert_chain(cert_file, key_file)
        return context

    return current("server", files, build)


def _use_newest(files: tuple[str, str, str], sock: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
    """For each handshake: the context of the files as they are now (the last good one while they are half written)."""
    with contextlib.suppress(OSError, SettingsError):
        sock.context = _server(files)
