"""The way to a broker, step by step: name, TCP, TLS, MQTT. A failure names its step."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptography import x509

from tiercut.bus.client_tls import tls_context
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, MqttSettings
from tiercut.doctor.findings import Finding, failed, good, problem, warning
from tiercut.errors import SettingsError

#: For each step.
STEP_S = 5.0
#: Below this a photograph is sent in many pieces.
SMALL_PACKET_BYTES = 256 * 1024
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(slots=True)
class Way:
    """How far we get.

    Attributes:
        open: All steps so far have succeeded.
        certificate: The broker's.
    """

    open: bool = True
    certificate: x509.Certificate | None = None


async def way_to(settings: MqttSettings, name: str, way: Way) -> AsyncIterator[Finding]:
    """Name, TCP and TLS of a broker; ``way`` says how far it went."""
    for step in (_resolve, _dial, _shake_hands):
        finding = await step(settings, name, way)
        if finding is not None:
            yield finding
            if finding.state == "problem":
                way.open = False
                return


async def _resolve(settings: MqttSettings, name: str, way: Way) -> Finding | None:
    del way
    check = f"{name}: host"
    try:
        async with asyncio.timeout(STEP_S):
            found = await asyncio.get_running_loop().getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError):
        fix = "correct the host in the address, or the name server"
        return problem(check, f"no address for the name '{settings.host}'", fix)
    addresses = sorted({str(each[4][0]) for each in found})
    return good(check, f"{settings.host} is {', '.join(addresses)}")


async def _dial(settings: MqttSettings, name: str, way: Way) -> Finding | None:
    del way
    where, check = f"{settings.host}:{settings.port}", f"{name}: TCP"
    try:
        async with asyncio.timeout(STEP_S):
            _, writer = await asyncio.open_connection(settings.host, settings.port)
    except TimeoutError:
        return problem(
            check, f"{where} does not answer within {STEP_S:g} s", "look for a firewall, or correct the port"
        )
    except ConnectionRefusedError:
        return problem(check, f"nothing listens at {where}", "start the broker, or correct the port")
    except OSError as error:
        return problem(
            check, f"{where} cannot be reached: {(error.strerror or str(error)).lower()}", "check the network"
        )
    await _close(writer)
    return good(check, f"{where} answers")


async def _shake_hands(settings: MqttSettings, name: str, way: Way) -> Finding | None:  # noqa: PLR0911 - one return per cause
    where, check = f"{settings.host}:{settings.port}", f"{name}: TLS"
    if not settings.tls:
        if settings.host in _LOCAL:
            return good(check, "none, on this machine")
        return warning(check, f"none: anyone between here and {where} can read and change messages", "use mqtts://")
    try:
        context = tls_context(settings.ca_file, settings.cert_file, settings.key_file, server=settings.server)
        async with asyncio.timeout(STEP_S):
            _, writer = await asyncio.open_connection(settings.host, settings.port, ssl=context)
    except SettingsError as error:
        return failed(check, error)
    except ssl.SSLCertVerificationError as error:
        fix = "trust the authority that signed it (ca.pem of the identity, or ca_file), or correct the host"
        return problem(check, f"the broker's certificate is not trusted: {error.verify_message}", fix)
    except TimeoutError:
        return problem(check, f"no handshake within {STEP_S:g} s", f"check that {where} is a port for TLS")
    except (ssl.SSLError, OSError) as error:
        says = getattr(error, "reason", None) or error
        return problem(check, f"the handshake failed: {says}", f"check that {where} is a port for TLS (mqtts://)")
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    der = session.getpeercert(binary_form=True)
    way.certificate = x509.load_der_x509_certificate(der) if der else None
    says = f"{session.version()}, {(session.cipher() or ('?',))[0]}"
    await _close(writer)
    return good(check, says)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()


def packets(check: str, max_payload_bytes: int) -> Finding:
    """Whether a broker's packets are large enough."""
    most = max_payload_bytes + PACKET_OVERHEAD_BYTES
    says = f"up to {most:,} bytes"
    if most < SMALL_PACKET_BYTES:
        fix = "raise the broker's maximum packet size (Mosquitto: max_packet_size)"
        return warning(check, f"{says}: frames are sent in many pieces", fix)
    return good(check, says)
