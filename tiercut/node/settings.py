"""Settings that the nodes of all tiers have."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiercut.bus.link_model import LinkSettings
from tiercut.bus.settings import MqttSettings
from tiercut.errors import SettingsError
from tiercut.pipeline.intake import MAX_HELD_CHUNKS
from tiercut.protocol.nodes import MAX_MEMORY_MB
from tiercut.settings import check_names, setting

#: How long brokers keep frames for a node that is away.
SESSION_EXPIRY_S = 600
#: Id of a node whose identity has not been read yet.
UNNAMED = "unnamed"


def default_node() -> str:
    """The machine's host name, without characters that a topic level cannot have."""
    name = "".join(c if c.isalnum() or c in "_.-" else "-" for c in socket.gethostname().split(".")[0])
    return name.strip("-._") or "node"


@dataclass(frozen=True, kw_only=True)
class EmulationStep:
    """A change to what a node emulates, some time after its start; what is omitted stays."""

    at_s: float = setting("seconds after the node's start")
    mbps: float | None = setting("rate of frames sent on, Mbit/s", default=None)
    delay_ms: float | None = setting("delay of frames sent on, ms", default=None)
    slowdown: float | None = setting("factor on the time that segments take", default=None)

    def __post_init__(self) -> None:
        _check_emulation(self.mbps, self.delay_ms, self.slowdown)
        if self.at_s < 0:
            raise SettingsError("bad setting at_s", expected="0 or more", came=str(self.at_s), fix="correct it")


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """A node of tiercut."""

    site: str = setting("name of the site", default="home")
    node: str = setting("this node's id, unique in its tier (default: the host name)", default="")
    broker_url: str = setting(
        "the site's broker, mqtt://HOST:PORT or mqtts://HOST:PORT", default="mqtt://127.0.0.1:1883"
    )
    cloud_broker_url: str = setting("the cloud's broker, if it is a different one", default="")
    username: str | None = setting("user name at the brokers", default=None)
    password: str | None = setting("password at the brokers", default=None, secret=True)
    ca_file: Path | None = setting("certificate authority that signed the brokers' certificates", default=None)
    cert_file: Path | None = setting("this node's certificate", default=None)
    key_file: Path | None = setting("this node's private key", default=None)
    identity: Path | None = setting(
        "folder of this node's ca.pem, cert.pem and key.pem ('tiercut certs' writes it): TLS and the node's id",
        default=None,
    )
    identities: Path | None = setting(
        "folder of such folders: the node takes one that no other process uses, and its id", default=None
    )
    hub_url: tuple[str, ...] = setting("hubs to get models from, https://HOST:8443", default=())
    bundles: Path = setting("folder of bundle folders", default=Path("bundles"))
    threads: int = setting("ONNX Runtime threads per segment", default=1)
    workers: int = setting("frames of different streams computed at once", default=1)
    segment_cache_mb: int = setting("memory for segments held ready, MB", default=512)
    memory_mb: float | None = setting(
        "memory that models may take on this node, MB: plans whose segments need more are refused (default: no limit)",
        default=None,
    )
    profiles: Path = setting("folder of profiles (tiercut profile writes them)", default=Path("profiles"))
    measure_s: float = setting("seconds to measure a model that has no profile (0: predict it)", default=0.0)
    power_watts: float = setting("power drawn while computing, W (0: as the machine measures it)", default=0.0)
    fall_back: bool = setting("run the rest of a model when the next node is gone", default=True)
    emulated_mbps: float | None = setting("emulate a slow link: rate of frames sent on, Mbit/s", default=None)
    emulated_delay_ms: float = setting("emulate a slow link: delay of frames sent on, ms", default=0.0)
    emulated_slowdown: float = setting("emulate a slow node: factor on the time that segments take", default=1.0)
    emulated_profile: bool = setting(
        "the node takes as long as its profiles say: stored ones, else the predictor's machine times the slowdown",
        default=False,
    )
    emulation: tuple[EmulationStep, ...] = setting("changes to what is emulated, over time", default=())
    status_every_s: float = setting("seconds between status messages", default=5.0)
    heartbeat: Path | None = setting("file to touch whenever the broker has taken a status", default=None)
    log_level: Literal["debug", "info", "warning", "error"] = setting("lowest level that is logged", default="info")
    log_style: Literal["text", "json"] = setting("logs for people or for machines", default="text")

    def __post_init__(self) -> None:
        if not self.node:  # an identity's name is known when it is read (`program`)
            object.__setattr__(self, "node", default_node() if self.identity is self.identities is None else UNNAMED)
        check_names(self, "site", "node")
        if self.identity is not None and self.identities is not None:
            raise SettingsError(
                "a node has one identity", expected="identity or identities", came="both", fix="remove one of them"
            )
        for name in ("threads", "workers", "segment_cache_mb"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"bad setting {name}", expected="1 or more", came=str(getattr(self, name)), fix="correct it"
                )

        memory = self.memory_mb
        if memory is not None and (isinstance(memory, bool) or not 0 < memory <= MAX_MEMORY_MB):
            raise SettingsError(
                "bad setting memory_mb",
                expected=f"more than 0, at most {MAX_MEMORY_MB:.0f}",
                came=str(memory),
                fix="correct it, or omit it",
            )
        for name in ("status_every_s", "measure_s", "power_watts"):
            least = 0.1 if name == "status_every_s" else 0.0
            value = getattr(self, name)
            if not value >= least:
                raise SettingsError(
                    f"bad setting {name}", expected=f"{least:g} or more", came=str(value), fix="correct it"
                )
        _check_emulation(self.emulated_mbps, self.emulated_delay_ms, self.emulated_slowdown)

    @property
    def emulated_link(self) -> LinkSettings | None:
        """The link to emulate at first, ``None`` for the real one alone."""
        later = any(step.mbps is not None or step.delay_ms is not None for step in self.emulation)
        if self.emulated_mbps is None and not self.emulated_delay_ms and not later:
            return None
        return LinkSettings(rate_mbps=self.emulated_mbps, delay_s=self.emulated_delay_ms / 1e3)

    def mqtt(self, url: str, *, client_id: str, keeps_work: bool) -> MqttSettings:
        """How to reach a broker as this node.

        Args:
            url: The broker.
            client_id: Names the session at the broker.
            keeps_work: The broker keeps what comes for the node while it restarts, and for `SESSION_EXPIRY_S` at most.
        """
        return MqttSettings(
            url=url,
            client_id=client_id,
            username=self.username,
            password=self.password,
            ca_file=_text(self.ca_file),
            cert_file=_text(self.cert_file),
            key_file=_text(self.key_file),
            receive_maximum=2 * MAX_HELD_CHUNKS,
            clean_start=not keeps_work,
            session_expiry_s=SESSION_EXPIRY_S,
        )


def _check_emulation(mbps: float | None, delay_ms: float | None, slowdown: float | None) -> None:
    wrong = {
        "mbps": (mbps is not None and mbps <= 0, "more than 0", mbps),
        "delay_ms": (delay_ms is not None and delay_ms < 0, "0 or more", delay_ms),
        "slowdown": (slowdown is not None and slowdown < 1, "1 or more", slowdown),
    }
    for name, (bad, expected, came) in wrong.items():
        if bad:
            raise SettingsError(f"bad emulated {name}", expected=expected, came=str(came), fix="correct it")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
