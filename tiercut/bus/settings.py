"""How to reach a broker, and how much may be in flight on the connection."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tiercut.bus.acks import STUCK_S
from tiercut.errors import SettingsError

#: Payload bytes unacknowledged at once; three frames of a large activation, well under a second on 100 Mbps.
OUTGOING_BUDGET_BYTES = 8 * 1024 * 1024
#: The protocol's largest Remaining Length: MQTT 5 §1.5.5.
MAX_PROTOCOL_BYTES = 268_435_455
#: Largest packet sent unless told otherwise: what the embedded broker takes.
MAX_PACKET_BYTES = 8 * 1024 * 1024
#: Room for topic and properties in a packet.
PACKET_OVERHEAD_BYTES = 1024

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_MAX_UINT16 = 65_535


def _new_client_id() -> str:
    return f"tiercut-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """One connection to one broker.

    Attributes:
        url: ``mqtt://host[:1883]``, or ``mqtts://host[:8883]`` for TLS; ``user:password@`` may precede the host.
        client_id: Must be unique at the broker: a second client with the same one throws the first out.
        ca_file: PEM of the authority that signed the broker's certificate; ``None``: the system's.
        cert_file: PEM of our own certificate, with ``key_file``, where the broker asks for one.
        server: ``<site>/bus`` that the name in the broker's certificate must begin with, ``+`` for any site; ``None``:
            authority and host name are all that counts.
        keepalive_s: A silent broker is given up after at most twice this time. One packet must get through the link
            within it: at 1 Mbps, 60 s are 7.5 MB.
        receive_maximum: QoS 1 messages the broker may have in flight to us (MQTT 5 §3.1.2.11.3).
        stuck_s: How long the oldest message may hold back the acknowledgements of finished ones before it is
            acknowledged early (`tiercut.bus.acks`).
        session_expiry_s: How long the broker keeps what is queued for us after a lost connection.
        clean_start: Forget what an earlier process with this ``client_id`` left; reconnects always resume.
        outgoing_budget_bytes: Payload bytes that may be unacknowledged; a single larger message passes alone.
        max_packet_bytes: Cap on what we send; a lower limit of the broker's counts, where the broker says it. rumqttd
            and Mosquitto 2.0 do not, and rumqttd closes the connection on a larger packet.
        max_incoming_bytes: Largest packet the broker may send us; it drops larger ones (MQTT 5 §3.1.2.11.4).
        qos0_queue: QoS 0 messages that may wait in one subscription; the oldest is dropped and counted.
        connect_timeout_s: For TCP, TLS and CONNACK each.
        backoff_min_s: Upper limit of the first wait before a reconnect; doubled up to ``backoff_max_s``.
    """

    url: str
    client_id: str = field(default_factory=_new_client_id)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = field(default=None, repr=False)
    server: str | None = None
    keepalive_s: int = 60
    receive_maximum: int = 32
    stuck_s: float = STUCK_S
    session_expiry_s: int = 60
    clean_start: bool = True
    outgoing_budget_bytes: int = OUTGOING_BUDGET_BYTES
    max_packet_bytes: int = MAX_PACKET_BYTES
    max_incoming_bytes: int = 64 * 1024 * 1024
    qos0_queue: int = 1024
    connect_timeout_s: float = 5.0
    backoff_min_s: float = 0.25
    backoff_max_s: float = 15.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:  # a port that is no number, a broken IPv6 address
            raise _bad_url(self.url, str(error)) from error
        if parts.scheme not in _DEFAULT_PORTS:
            raise _bad_url(self.url, f"the scheme {parts.scheme!r}" if parts.scheme else "no scheme")
        if not parts.hostname:
            raise _bad_url(self.url, "no host")
        if port == 0:
            raise _bad_url(self.url, "port 0")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _bad_url(self.url, f"something after the port: {self.url.split('@')[-1]!r}")
        if parts.username is not None:  # out of the printable url
            object.__setattr__(self, "username", self.username or unquote(parts.username))
            object.__setattr__(self, "password", self.password or unquote(parts.password or "") or None)
            object.__setattr__(self, "url", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        self._check_ranges()
        self._check_pairs()

    def _check_ranges(self) -> None:
        _check_range("receive_maximum", self.receive_maximum, 1, _MAX_UINT16)
        _check_range("keepalive_s", self.keepalive_s, 1, _MAX_UINT16)
        _check_range("stuck_s", self.stuck_s, 0.001, None)
        _check_range("session_expiry_s", self.session_expiry_s, 0, 0xFFFFFFFF)
        _check_range("outgoing_budget_bytes", self.outgoing_budget_bytes, 1, None)
        _check_range("max_incoming_bytes", self.max_incoming_bytes, 2 * PACKET_OVERHEAD_BYTES, MAX_PROTOCOL_BYTES)
        _check_range("qos0_queue", self.qos0_queue, 1, None)
        _check_range("connect_timeout_s", self.connect_timeout_s, 0.001, None)
        _check_range("backoff_min_s", self.backoff_min_s, 0.001, None)
        _check_range("backoff_max_s", self.backoff_max_s, self.backoff_min_s, None)
        _check_range("max_packet_bytes", self.max_packet_bytes, 2 * PACKET_OVERHEAD_BYTES, MAX_PROTOCOL_BYTES)

    def _check_pairs(self) -> None:
        if self.password is not None and self.username is None:
            raise SettingsError(
                "password", expected="a username with it", came="none", fix="set username, or drop the password"
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise SettingsError(
                "cert_file and key_file", expected="both or neither", came="one of them", fix="set the other one too"
            )
        if not self.tls and (self.ca_file or self.cert_file):
            raise SettingsError(
                "ca_file or cert_file",
                expected="a url with mqtts://",
                came=self.url,
                fix="use mqtts://, or drop the file",
            )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts:")

    @property
    def host(self) -> str:
        """Name or address of the broker."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port of the broker."""
        parts = urlsplit(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]


def _bad_url(url: str, came: str) -> SettingsError:
    shown = url.rpartition("@")[2]  # never the password
    return SettingsError(
        f"the broker's url {shown!r}",
        expected="mqtt://host:1883 or mqtts://host:8883",
        came=came,
        fix="correct the url",
    )


def _check_range(name: str, value: float, low: float, high: float | None) -> None:
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise SettingsError(name, expected=limits, came=str(value), fix=f"set {name} within the limits")
