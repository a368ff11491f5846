"""Mosquitto's configuration, valid for 2.0 and 2.1: for the bus of a site or of the cloud, and a plain one to try out.

    python -m broker.mosquitto bus --identity /etc/tiercut/identity --acl /var/lib/tiercut/acl > mosquitto.conf
    python -m broker.mosquitto plain > mosquitto.conf

2.1 calls ``acl_file`` and ``password_file`` deprecated, in favour of plugins that 2.0 does not have, and keeps both
until 3.0. ``per_listener_settings``, deprecated too, is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from tiercut.errors import SettingsError
from tiercut.security.identity_files import CA_FOLDER, CERT_FILE, KEY_FILE

#: What a node sends at most in one packet, `tiercut.bus.settings.MAX_PACKET_BYTES`; the same for sensors.
MAX_PACKET_BYTES = 8 * 1024 * 1024
#: Messages in flight to one client; nodes themselves ask for at most 128 (2.0.11 obeys only this limit).
MAX_INFLIGHT = 128
#: Messages kept for a client that is away or slow: frames for a node that restarts, for ten minutes at most.
MAX_QUEUED = 2000
#: … and at most this many bytes, or a quarter of the broker's memory.
MAX_QUEUED_BYTES = 64 * 1024 * 1024
#: Memory for messages, sessions and retained ones included; beyond it, more are refused. The broker also needs some
#: 15 MB, and 0.1 MB for each connection with TLS: a container's limit has to be above both.
MEMORY_MB = 256
#: Below this the largest packets do not fit.
MIN_MEMORY_MB = 64
MAX_CONNECTIONS = 500
MAX_KEEPALIVE_S = 600
TLS_PORT, PLAIN_PORT = 8883, 1883

#: AES in hardware first: 128 bits are enough and fastest; ChaCha for processors without it.
CIPHERS_TLS13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
CIPHERS_TLS12 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
)

_HEAD = "# Written by tiercut, for Mosquitto 2.0 and 2.1.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BusFiles:
    """Where the broker finds its files.

    Attributes:
        identity: Folder of ``ca.d/``, ``cert.pem``, ``key.pem``.
        acl: Access rules.
        data: Folder that it keeps sessions and retained messages in.
        passwords: For sensors that have no certificate; ``None``: there are none.
    """

    identity: PurePosixPath
    acl: PurePosixPath
    data: PurePosixPath
    passwords: PurePosixPath | None = None


def secure(
    files: BusFiles,
    *,
    port: int = TLS_PORT,
    address: str = "",
    password_port: int = TLS_PORT + 1,
    memory_mb: int = MEMORY_MB,
) -> str:
    """The configuration of a bus that only certificates of its authority open.

    Args:
        files: Its files.
        port: Where it listens.
        address: On which address (default: all).
        password_port: Where sensors with user name and password connect, with TLS too; used with ``files.passwords``.
        memory_mb: What it may take for messages, in MiB; beyond that it takes no more of them.

    Raises:
        SettingsError: a path or the memory cannot be.
    """
    if memory_mb < MIN_MEMORY_MB:  # 0 would be no limit
        raise SettingsError(
            "the bus's memory", expected=f"{MIN_MEMORY_MB} MB or more", came=f"{memory_mb} MB", fix="give it more"
        )
    for path in (files.identity, files.acl, files.data, files.passwords):
        if path is not None and not str(path).isprintable():
            raise SettingsError("a path", expected="printable text", came=repr(str(path)), fix="choose another")
    lines = ["allow_anonymous false", *_common(memory_mb), f"acl_file {files.acl}", *_persistence(files.data)]
    if files.passwords is not None:
        lines.append(f"password_file {files.passwords}")
    lines += ["", f"listener {port} {address}".rstrip(), *_tls(files.identity)]
    lines += ["require_certificate true", "use_identity_as_username true", f"max_connections {MAX_CONNECTIONS}"]
    if files.passwords is not None:
        lines += ["", "# sensors without certificates", f"listener {password_port} {address}".rstrip()]
        lines += [*_tls(files.identity), "require_certificate false", f"max_connections {MAX_CONNECTIONS}"]
    return _HEAD + "\n".join(lines) + "\n"


def plain(*, port: int = PLAIN_PORT) -> str:
    """A configuration without any security, for programs on this machine: it listens on 127.0.0.1 only."""
    lines = ["# For development: no encryption, no access rules, this machine only."]
    lines += ["allow_anonymous true", *_common(MEMORY_MB), "persistence false"]
    return _HEAD + "\n".join([*lines, "", f"listener {port} 127.0.0.1"]) + "\n"


def _common(memory_mb: int) -> list[str]:
    return [
        f"memory_limit {memory_mb << 20}",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_inflight_messages {MAX_INFLIGHT}",
        f"max_queued_messages {MAX_QUEUED}",
        f"max_queued_bytes {min(MAX_QUEUED_BYTES, (memory_mb << 20) // 4)}",
        f"max_keepalive {MAX_KEEPALIVE_S}",
        "persistent_client_expiration 1d",
        "set_tcp_nodelay true",
        "check_retain_source true",
        "log_dest stderr",  # 2.0.11 keeps what goes to stdout back
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages true",
    ]


def _persistence(data: PurePosixPath) -> list[str]:
    return ["persistence true", f"persistence_location {data}/", "autosave_interval 60"]


def _tls(identity: PurePosixPath) -> list[str]:
    return [
        f"capath {identity / CA_FOLDER}",
        f"certfile {identity / CERT_FILE}",
        f"keyfile {identity / KEY_FILE}",
        "tls_version tlsv1.2",
        f"ciphers {CIPHERS_TLS12}",
        f"ciphers_tls1.3 {CIPHERS_TLS13}",
    ]
