"""Who may be on a site's buses: names of identities, and the list of them that the access rules are made of.

An identity is ``<site>/<role>/<name>``: the common name of its certificate, and its user name at the broker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from tiercut.errors import BadMessage, SettingsError
from tiercut.names import check_name

Role = Literal["device", "edge", "cloud", "hub", "bus", "operator", "reader", "sensor"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Roles whose certificate others check as a server's.
SERVERS: tuple[Role, ...] = ("bus", "hub")

#: The longest common name (X.509's ub-common-name).
MAX_IDENTITY = 64
#: Topics that one sensor may have, and their length.
MAX_TOPICS, MAX_TOPIC = 64, 200

FORM = "tiercut-identities/1"
#: Beside the certificate of hubs: they write access rules.
LIST_FILE = "identities.json"


@dataclass(frozen=True, slots=True, order=True)
class IdentityName:
    """``<site>/<role>/<name>``."""

    site: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        for field_name, value in (("site", self.site), ("name", self.name)):
            try:
                check_name(value, field_name=field_name)
            except BadMessage as error:
                raise _bad(error.expected, error.came, "choose another name") from error
        if self.role not in ROLES:
            raise _bad(f"a role of {', '.join(ROLES)}", repr(self.role), "correct the role")
        if len(str(self)) > MAX_IDENTITY:
            raise _bad(
                f"at most {MAX_IDENTITY} characters for site/role/name together (X.509)",
                f"{len(str(self))}",
                "choose shorter names",
            )

    def __str__(self) -> str:
        return f"{self.site}/{self.role}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The identity that a common name or a user name says.

        Raises:
            SettingsError: it says none.
        """
        parts = text.split("/")
        if len(parts) != 3:  # noqa: PLR2004 - site, role, name
            raise _bad("<site>/<role>/<name>", repr(text[:80]), "use a certificate of 'tiercut certs'")
        return cls(*parts)  # type: ignore[arg-type]  # the role is checked there


@dataclass(frozen=True, slots=True)
class Listed:
    """One identity, as access rules need it.

    Attributes:
        identity: Its name.
        topics: Sensors: topic filters that it may publish on.
    """

    identity: IdentityName
    topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.topics and self.identity.role != "sensor":
            raise _bad("topics with role sensor only", str(self.identity), "omit --topic")
        if len(self.topics) > MAX_TOPICS:
            raise _bad(f"at most {MAX_TOPICS} topics", str(len(self.topics)), "use a wildcard")
        for topic in self.topics:
            check_sensor_topic(topic)


@dataclass(frozen=True, slots=True)
class IdentityList:
    """What stands in a list file.

    Attributes:
        listed: All identities.
        removed: Removed identities: their old certificates may still be around.
        cloud_site: The site that cloud nodes are of.
    """

    listed: tuple[Listed, ...] = ()
    removed: tuple[IdentityName, ...] = ()
    cloud_site: str = "cloud"

    @property
    def names(self) -> frozenset[IdentityName]:
        """Who may do anything at all; cloud nodes are of the cloud's site or of none."""
        names = (each.identity for each in self.listed)
        return frozenset(name for name in names if name.role != "cloud" or name.site == self.cloud_site)


def check_sensor_topic(topic: str) -> None:
    """Refuse what a sensor may not have: an invalid topic filter, or one of tiercut's own topics.

    Raises:
        SettingsError: says why.
    """
    levels = topic.split("/")
    wild_inside = any(("+" in each or "#" in each) and each not in {"+", "#"} for each in levels)
    if not topic or len(topic) > MAX_TOPIC or wild_inside or "#" in levels[:-1] or not topic.isprintable():
        raise _bad_topic("an MQTT topic or topic filter", repr(topic[:80]), "correct the sensor's topic")
    if levels[0] in {"tiercut", "+", "#"} or topic.startswith("$") or topic != topic.strip():
        fix = "name the first level of the sensor's own topics"
        raise _bad_topic("a topic of a sensor, outside of tiercut/ and $", repr(topic), fix)


def read_list(path: Path) -> IdentityList:
    """The identities in a list.

    Raises:
        SettingsError: the file is missing or is no such list.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = {FORM: document["identities"]}[document["form"]]
        return IdentityList(
            tuple(Listed(IdentityName.parse(row["identity"]), tuple(map(str, row.get("topics", ())))) for row in rows),
            tuple(map(IdentityName.parse, document.get("removed", ()))),
            str(document.get("cloud_site", "cloud")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"cannot read the list of identities '{path}'",
            expected=f"JSON of the form {FORM}",
            came=str(error) or type(error).__name__,
            fix="let 'tiercut certs' write it",
        ) from error


def list_bytes(known: IdentityList) -> bytes:
    """A list as a file has it; the same identities give the same bytes."""
    rows: list[dict[str, Any]] = [
        {"identity": str(each.identity)} | ({"topics": list(each.topics)} if each.topics else {})
        for each in sorted(known.listed, key=lambda each: each.identity)
    ]
    removed = [str(each) for each in sorted(set(known.removed))]
    document = {"form": FORM, "cloud_site": known.cloud_site, "identities": rows, "removed": removed}
    return (json.dumps(document, indent=1) + "\n").encode()


def _bad_topic(expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError("bad topic of a sensor", expected=expected, came=came, fix=fix)


def _bad(expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError("bad identity", expected=expected, came=came, fix=fix)
