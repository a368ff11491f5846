"""A secured bus for tests: certificates, rules, and Mosquitto run by deploy/mosquitto/run.sh as in production."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from broker.mosquitto.configuration import BusFiles, secure
from tests.brokers import program
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import free_port
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.certificates import Authority, certificate_pem
from tiercut.security.identity_list import IdentityName, Listed

RUN = Path(__file__).parent.parent / "deploy" / "mosquitto" / "run.sh"
_START_S = 10.0


def new_pki(folder: Path, *names: str, **sensors: tuple[str, ...]) -> AuthorityFolder:
    """An authority of site ``t`` with identities ``<site>/<role>/<name>``, and sensors with their topics."""
    pki = AuthorityFolder.new(folder, sites=Sites("t", "cloud"))
    for name in ("t/bus/bus", *names):
        pki.ensure(Listed(IdentityName.parse(name)))
    for name, topics in sensors.items():
        pki.ensure(Listed(IdentityName("t", "sensor", name), topics))
    return pki


def claiming_to_serve(pki: AuthorityFolder, name: IdentityName) -> None:
    """Give a certificate the hosts of a server; that it is for clients alone stays as it is."""
    folder = pki.files.path_of(name)
    issued = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    authority = Authority.load((pki.folder / "ca" / "authority.pem").read_bytes())
    builder = x509.CertificateBuilder(
        issued.issuer,
        issued.subject,
        issued.public_key(),
        issued.serial_number,
        issued.not_valid_before_utc,
        issued.not_valid_after_utc,
        list(issued.extensions),
    )
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = builder.add_extension(hosts, critical=False).sign(authority.key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(certificate_pem(made))


class SecureBroker:
    """Mosquitto with the configuration of `broker.mosquitto.secure`.

    Args:
        folder: For its files.
        pki: Of whom it has its certificate, as ``bus``.
        rules: Its access rules; ``write`` others while it runs.
        bus: Its identity.
        more: More lines of its configuration.
        passwords: For sensors without certificates, on ``password_port``.
    """

    def __init__(
        self,
        folder: Path,
        pki: AuthorityFolder,
        rules: str,
        *,
        bus: str = "t/bus/bus",
        more: Sequence[str] = (),
        passwords: Path | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"mqtts://localhost:{self.port}"
        self.rules = folder / f"acl-{self.port}"
        self.rules.write_text(rules, encoding="utf-8")
        self.log = folder / f"mosquitto-{self.port}.log"
        self._conf = folder / f"mosquitto-{self.port}.conf"
        data = folder / f"data-{self.port}"
        data.mkdir()
        self.password_port = free_port()
        files = BusFiles(
            identity=PurePosixPath(pki.files.path_of(IdentityName.parse(bus))),
            acl=PurePosixPath(self.rules),
            data=PurePosixPath(data),
            passwords=PurePosixPath(passwords) if passwords else None,
        )
        text = secure(files, port=self.port, address="127.0.0.1", password_port=self.password_port)
        as_root = ["user root"] if os.geteuid() == 0 else []  # else it becomes a user who cannot read pytest's folders
        self._conf.write_text("\n".join([text, *as_root, *more, ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        path = f"{Path(program('mosquitto')).parent}:{os.environ['PATH']}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", str(RUN), str(self._conf)], stdout=log, stderr=log, env=os.environ | {"PATH": path}
            )
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.01)  # a port that begins to listen has no event
        pytest.fail(f"mosquitto did not start: {self.log.read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.stop() == 0

    def stop(self) -> int:
        """TERM, as a container is stopped."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(10)


def settings(broker: SecureBroker, pki: AuthorityFolder, identity: str, **more: Any) -> MqttSettings:
    """How an identity reaches a broker."""
    folder = pki.files.path_of(IdentityName.parse(identity))
    files = {f"{name}_file": str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}
    return MqttSettings(url=broker.url, **(files | {"backoff_max_s": 0.5} | more))


@asynccontextmanager
async def on_bus(broker: SecureBroker, pki: AuthorityFolder, *identities: str) -> AsyncIterator[Sequence[MqttBus]]:
    """Connected, one bus per identity."""
    buses = [MqttBus(settings(broker, pki, each), clock=SystemClock()) for each in identities]
    try:
        for bus in buses:
            await bus.__aenter__()
        yield buses
    finally:
        for bus in buses:
            await bus.close()
