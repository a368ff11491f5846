"""A site's authority on disk, and the folders of the identities that it has signed.

DIR/ca/authority.pem               the authority, certificate and key
DIR/ca/next.pem  DIR/ca/old.pem    while it is being replaced: the one to come, the one that was
DIR/ca/sites.json                  names of the site, and of the cloud's
DIR/ca/identities.json             all identities
DIR/<site>/<role>/<name>/          one identity: ca.pem, cert.pem, key.pem; a broker's also ca.d/
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from tiercut.errors import SettingsError
from tiercut.files import write_whole
from tiercut.security import certificates
from tiercut.security.identity_files import (
    CA_FILE,
    CA_FOLDER,
    CERT_FILE,
    KEY_FILE,
    LOCK_FILE,
    IdentityFiles,
    Owner,
    make_folder,
)
from tiercut.security.identity_list import LIST_FILE, SERVERS, IdentityList, IdentityName, Listed, list_bytes, read_list

_SITES_FILE = "sites.json"


@dataclass(frozen=True, slots=True)
class Sites:
    """Names of the site, and of that of cloud nodes and their broker."""

    site: str
    cloud_site: str


@dataclass(frozen=True, slots=True)
class Issued:
    """An identity's certificate, as ``tiercut certs list`` shows it.

    Attributes:
        identity: Whose.
        folder: Where its files are.
        days_left: Days that are left.
        hosts: Where it is a server's: names and addresses that it is for.
        current: It is signed by the authority, and not by the one before.
    """

    identity: IdentityName
    folder: Path
    days_left: float
    hosts: tuple[str, ...]
    current: bool


class AuthorityFolder:
    """The files of an authority.

    Args:
        folder: Its folder; see above.
        owner: Owner of identities' files.
        bus_owner: The same for brokers' files.

    Attributes:
        files: The folders of its identities.

    Raises:
        SettingsError: there is no authority there.
    """

    def __init__(self, folder: Path, *, owner: Owner = None, bus_owner: Owner = None) -> None:
        self.folder = folder
        self.files = IdentityFiles(folder, owner=owner, bus_owner=bus_owner)
        try:
            self._authority = certificates.Authority.load(self._ca("authority").read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"no authority in '{folder}'",
                expected=f"certificate and key in {self._ca('authority')}",
                came=str(error),
                fix=f"make one: tiercut certs init {folder} --site NAME",
            ) from error

    @classmethod
    def new(cls, folder: Path, *, sites: Sites, owner: Owner = None, bus_owner: Owner = None) -> Self:
        """Make an authority; one that is there stays.

        Raises:
            SettingsError: site and cloud have one name, or a file cannot be written.
        """
        if sites.site == sites.cloud_site:
            raise SettingsError(
                "the site and the cloud's site have one name",
                expected="two names: cloud nodes may do more than nodes of a site",
                came=f"'{sites.site}' for both",
                fix="choose another --site or --cloud-site",
            )
        path = folder / "ca" / "authority.pem"
        if not path.exists():
            make_folder(path.parent, None)
            write_whole(path, certificates.Authority.new(sites.site).pem, what="the authority ", mode=0o600)
        names = path.with_name(_SITES_FILE)
        if not names.exists():
            write_whole(names, json.dumps(asdict(sites)).encode(), mode=0o600)
        return cls(folder, owner=owner, bus_owner=bus_owner)

    @property
    def sites(self) -> Sites:
        """Of the authority."""
        path = self.folder / "ca" / _SITES_FILE
        try:
            return Sites(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                f"cannot read '{path}'",
                expected="names of sites",
                came=str(error),
                fix="run 'tiercut certs init' again",
            ) from error

    # ------------------------------------------------------------------ all identities

    def listed(self) -> tuple[Listed, ...]:
        """All identities."""
        return self._known.listed

    def removed(self) -> tuple[IdentityName, ...]:
        """Those that were removed: their names are not given again."""
        return self._known.removed

    @property
    def _known(self) -> IdentityList:
        path = self.folder / "ca" / LIST_FILE
        known = read_list(path) if path.exists() else IdentityList()
        return replace(known, cloud_site=self.sites.cloud_site)

    def issued(self) -> list[Issued]:
        """All certificates."""
        return [self._issued(each.identity) for each in self.listed()]

    # ------------------------------------------------------------------ certificates

    def ensure(
        self,
        wanted: Listed,
        *,
        hosts: Sequence[str] = (),
        days: int = certificates.CERTIFICATE_DAYS,
        before_days: float = 30.0,
        again: bool = False,
        now: dt.datetime | None = None,
    ) -> bool:
        """An identity's certificate: a valid one stays as it is.

        Args:
            wanted: Whose.
            hosts: Names and addresses it is to be for, where it is a server's.
            days: How long a new one is valid.
            before_days: One with fewer days left is replaced.
            again: Also for a name that was removed: its old certificates get their rights back.
            now: The time (default: now).

        Returns:
            Whether a new one was made.

        Raises:
            SettingsError: the name is taken or was removed, or is not right for the role.
        """
        certificates.check_days(days)
        self._check_names(wanted.identity)
        if wanted.identity in self.removed() and not again:
            raise SettingsError(
                f"'{wanted.identity}' was removed",
                expected="a name that was never removed: the old certificate would get its rights back",
                came=f"'{wanted.identity}'",
                fix="choose another name, or use --again if no old certificate of it is still around",
            )
        self._list(wanted)
        good = self._good(wanted.identity, hosts, before_days, now)
        if not good:
            self.renew(wanted.identity, hosts=hosts, days=days, now=now)
        self._write_trust(wanted.identity)
        return not good

    def renew(
        self,
        identity: IdentityName,
        *,
        hosts: Sequence[str] = (),
        days: int = certificates.CERTIFICATE_DAYS,
        keep_key: bool = False,
        now: dt.datetime | None = None,
    ) -> None:
        """A new certificate for an identity; nobody else's changes.

        Args:
            identity: Whose.
            hosts: More names and addresses; those of the old certificate stay.
            days: How long it is valid.
            keep_key: For the same key.
            now: The time (default: now).
        """
        certificates.check_days(days)
        folder = self.files.make_folder(identity)
        old = self.files.certificate(identity)
        key = self.files.key(identity) if keep_key else None
        key = key or certificates.new_key()
        known = certificates.hosts_of(old) if old is not None else ()
        certificate = self._authority.issue(identity, key, hosts=(*known, *hosts), days=days, now=now)
        if not (folder / LOCK_FILE).exists():  # a node may hold it: it stays the same file
            self.files.replace(identity, LOCK_FILE, b"")
        self._write_trust(identity)
        self.files.replace(identity, KEY_FILE, certificates.key_pem(key))
        self.files.replace(identity, CERT_FILE, certificates.certificate_pem(certificate))

    def remove(self, identity: IdentityName) -> None:
        """Take an identity off the list, so that access rules no longer name it, and delete its files."""
        if identity not in {each.identity for each in self.listed()}:
            raise SettingsError(
                "no such identity",
                expected="one that 'tiercut certs list' shows",
                came=str(identity),
                fix="correct the name",
            )
        known = self._known
        listed = tuple(each for each in known.listed if each.identity != identity)
        self._save_list(replace(known, listed=listed, removed=(*known.removed, identity)))
        self.files.delete(identity)

    # ------------------------------------------------------------------ a new authority

    @property
    def step(self) -> str:
        """Where a change of the authority stands: ``none``, ``begun`` or ``switched``."""
        if self._ca("next").exists():
            return "begun"
        return "switched" if self._ca("old").exists() else "none"

    def begin_rotation(self) -> None:
        """A new authority beside the old one: all trust both; certificates stay."""
        self._expect("none", "begin")
        write_whole(
            self._ca("next"), certificates.Authority.new(self.sites.site).pem, what="the authority ", mode=0o600
        )
        self._trust_everywhere()

    def switch(self, *, days: int = certificates.CERTIFICATE_DAYS) -> None:
        """The new authority signs: all get new certificates, and still trust both."""
        self._expect("begun", "switch")
        write_whole(self._ca("old"), certificates.certificate_pem(self._authority.certificate), mode=0o600)
        self._ca("next").replace(self._ca("authority"))
        self._authority = certificates.Authority.load(self._ca("authority").read_bytes())
        for each in self.listed():
            self.renew(each.identity, days=days)

    def finish_rotation(self) -> None:
        """The old authority is no longer trusted."""
        self._expect("switched", "finish")
        for each in self.issued():
            if not each.current:  # such as after a switch that was cut short
                self.renew(each.identity)
        self._ca("old").unlink()
        self._trust_everywhere()

    def _expect(self, step: str, wanted: str) -> None:
        if self.step != step:
            order = {"none": "begin", "begun": "switch", "switched": "finish"}
            raise SettingsError(
                f"cannot {wanted} a change of the authority now",
                expected="begin, switch, finish, in this order",
                came=f"'{wanted}'",
                fix=f"the next step is: tiercut certs rotate-ca {self.folder} {order[self.step]}",
            )

    def trusted(self) -> bytes:
        """What ``ca.pem`` of every identity is."""
        return certificates.all_trusted(self._authorities())

    # ------------------------------------------------------------------ inside

    def _ca(self, name: str) -> Path:
        return self.folder / "ca" / f"{name}.pem"

    def _authorities(self) -> list[certificates.Certificate]:
        """All that are trusted: the one that signs first."""
        others = [self._ca(name) for name in ("next", "old") if self._ca(name).exists()]
        return [self._authority.certificate, *(certificates.load_certificates(each.read_bytes())[0] for each in others)]

    def _write_trust(self, identity: IdentityName) -> None:
        self.files.write(identity, CA_FILE, self.trusted())
        if identity.role == "hub":
            self.files.write(identity, LIST_FILE, list_bytes(self._known))
        if identity.role == "bus":
            self._write_trust_folder(identity)

    def _write_trust_folder(self, identity: IdentityName) -> None:
        """Mosquitto reads a file of authorities once, and a folder of them whenever it meets an unknown one."""
        folder = self.files.make_folder(identity, CA_FOLDER)
        files = {certificates.authority_file(each): certificates.certificate_pem(each) for each in self._authorities()}
        for name, data in files.items():
            self.files.write(identity, f"{CA_FOLDER}/{name}", data)
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()

    def _trust_everywhere(self) -> None:
        for each in self.listed():
            self._write_trust(each.identity)

    def _check_names(self, identity: IdentityName) -> None:
        """Cloud nodes are of the cloud's site; an edge's gateway is a device of its name, which no other may have."""
        if identity.role == "cloud" and identity.site != self.sites.cloud_site:
            raise SettingsError(
                "a cloud node is of the cloud's site, as it works for all sites",
                expected=f"'{self.sites.cloud_site}/cloud/{identity.name}'",
                came=f"'{identity}'",
                fix="omit --site",
            )
        other = {"edge": "device", "device": "edge"}.get(identity.role)
        taken = {(each.identity.site, each.identity.role, each.identity.name) for each in self.listed()}
        if (identity.site, other, identity.name) in taken:
            raise SettingsError(
                f"the name of '{identity}' is taken",
                expected="edges and devices of different names (an edge reads sensors as a device of its name)",
                came=f"the {other} '{identity.name}'",
                fix="choose another name",
            )

    def _list(self, wanted: Listed) -> None:
        known = self._known
        if wanted not in known.listed or wanted.identity in known.removed:
            others = (each for each in known.listed if each.identity != wanted.identity)
            removed = tuple(each for each in known.removed if each != wanted.identity)
            self._save_list(replace(known, listed=(*others, wanted), removed=removed))

    def _save_list(self, known: IdentityList) -> None:
        data = list_bytes(known)
        write_whole(self.folder / "ca" / LIST_FILE, data, what="the list of identities ", mode=0o600)
        for each in self.listed():
            if each.identity.role == "hub" and (self.files.path_of(each.identity) / CERT_FILE).exists():
                self.files.write(each.identity, LIST_FILE, data)

    def _good(self, identity: IdentityName, hosts: Sequence[str], before_days: float, now: dt.datetime | None) -> bool:
        certificate, key = self.files.certificate(identity), self.files.key(identity)
        if certificate is None or key is None or not certificates.same_key(certificate, key):
            return False
        missing = set(hosts) - set(certificates.hosts_of(certificate)) if identity.role in SERVERS else ()
        if missing or certificates.common_name(certificate) != str(identity):
            return False
        return self._is_trusted(certificate) and certificates.days_left(certificate, now=now) > before_days

    def _is_trusted(self, certificate: certificates.Certificate) -> bool:
        """Of the authority, or of the one before while all still trust that."""
        return any(certificates.signed_by(certificate, each) for each in self._authorities())

    def _issued(self, identity: IdentityName) -> Issued:
        certificate = self.files.certificate(identity)
        if certificate is None:
            return Issued(identity, self.files.path_of(identity), 0.0, (), current=False)
        return Issued(
            identity,
            self.files.path_of(identity),
            certificates.days_left(certificate),
            certificates.hosts_of(certificate),
            current=certificates.signed_by(certificate, self._authority.certificate),
        )
