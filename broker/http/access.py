"""Who may request what from the hub's server: the identity in the client's certificate decides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from tiercut.errors import SettingsError
from tiercut.security.identity_list import IdentityName, Role, read_list

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Roles that run models, and so fetch them.
NODE_ROLES: frozenset[Role] = frozenset({"device", "edge", "cloud", "hub"})
#: Nodes that work for several sites.
CLOUDS: frozenset[Role] = frozenset({"cloud"})
READERS: frozenset[Role] = frozenset({"reader", "operator", "hub"})
OPERATORS: frozenset[Role] = frozenset({"operator", "hub"})
#: Everyone who uses plain http from this machine: no certificate says who, hence the binding to 127.0.0.1.
LOCAL_ROLE: Role = "operator"

#: Who may ask at all, at present; ``None``: everyone with a certificate of the authority.
LISTED_KEY: web.AppKey[Callable[[], frozenset[IdentityName]] | None] = web.AppKey("listed")
SITE_KEY = web.AppKey("site", str)
#: Whether clients show certificates; if not, everyone on this machine is an operator.
TLS_KEY = web.AppKey("tls", bool)


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: Of HTTP.
        sentence: What was expected, what came, what to do.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class ListedIdentities:
    """The identities in a list that ``tiercut certs`` writes, at present.

    A list that cannot be read leaves the last good one; before there was one, nobody is listed.

    Args:
        path: The list.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked: tuple[int, int, int] | None = None
        self._names: frozenset[IdentityName] = frozenset()

    def __call__(self) -> frozenset[IdentityName]:
        """The identities; the file is read when it has changed."""
        try:
            found = self._path.stat()
            look = found.st_mtime_ns, found.st_size, found.st_ino
            if look != self._looked:
                self._names = read_list(self._path).names
                self._looked = look
        except (OSError, SettingsError) as error:
            if self._looked is not None or not self._names:
                log.warning("list of identities not read", extra={"path": str(self._path), "reason": str(error)})
            self._looked = None
        return self._names


def peer_of(request: web.Request) -> IdentityName | None:
    """Who asks; ``None`` where the certificate belongs to no identity."""
    if not request.app[TLS_KEY]:
        return IdentityName(request.app[SITE_KEY], LOCAL_ROLE, "local")
    certificate = request.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    try:
        return IdentityName.parse(names[0]) if len(names) == 1 else None
    except SettingsError:
        return None


def allowed_to(roles: frozenset[Role], *, of_any_site: frozenset[Role] = frozenset()) -> Callable[[Handler], Handler]:
    """Let only some roles of the own site in.

    Args:
        roles: Of this site.
        of_any_site: Of other sites too: cloud nodes work for several.
    """

    def guard(handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            peer = peer_of(request)
            listed = request.app[LISTED_KEY]
            if peer is not None and listed is not None and peer not in listed():
                sentence = f"expected an identity of the hub's list, got '{peer}', which was removed or never given"
                raise Refusal(HTTPStatus.FORBIDDEN, f"{sentence}; see 'tiercut certs list'")
            own = peer is not None and peer.site == request.app[SITE_KEY]
            if peer is None or peer.role not in (roles if own else of_any_site):
                who = "no identity of a site" if peer is None else f"'{peer}'"
                sentence = f"expected {_said(roles)} of site '{request.app[SITE_KEY]}', got {who}"
                raise Refusal(HTTPStatus.FORBIDDEN, f"{sentence}; use a certificate of such a role")
            return await handler(request)

        return guarded

    return guard


def _said(roles: frozenset[Role]) -> str:
    return " or ".join(f"'{role}'" for role in sorted(roles))
