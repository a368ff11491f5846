"""Errors of MQTT, sockets and TLS become ours here: expected, came, what to do."""

from __future__ import annotations

import errno
import socket
import ssl

import mqtt5

from tiercut.bus.handshake import Refused
from tiercut.bus.settings import MqttSettings
from tiercut.bus.wire import said
from tiercut.errors import BrokerRefused, BrokerUnreachable, BusError, PacketTooLarge, PublishRefused

#: Reason codes of CONNACK (MQTT 5 §3.2.2.2) → what came, what to do
_REFUSALS = {
    0x81: ("a protocol error", "report this with the broker's log"),
    0x84: ("'the broker speaks only MQTT 3.1.1'", "use a broker with MQTT 5, such as Mosquitto 1.6 or later"),
    0x85: ("'client identifier not valid'", "choose another client_id"),
    0x86: ("'bad user name or password'", "correct username and password"),
    0x87: ("'not authorized'", "set username and password, or allow this client at the broker"),
    0x88: ("'server unavailable'", "check the broker's log"),
    0x89: ("'server busy'", "try again later"),
    0x8A: ("'banned'", "ask the broker's administrator"),
    0x95: ("'packet too large'", "raise the broker's maximum packet size, or shorten the will"),
    0x97: ("'quota exceeded'", "raise the broker's limit of connections"),
    0x9A: ("'retain not supported'", "allow retained messages at the broker: presence needs them"),
}


def connect_error(settings: MqttSettings, error: Exception) -> BusError:
    """The error for a connection that could not be made."""
    if isinstance(error, Refused):
        came, fix = _REFUSALS.get(error.code, (repr(str(error)), "check the broker's log"))
        return BrokerRefused(
            f"the broker at {settings.url} refuses us", expected="CONNACK 'success'", came=came, fix=fix
        )
    came, fix = _unreachable(settings, error)
    return BrokerUnreachable(
        f"no broker at {settings.url}", expected="an MQTT 5 broker that answers", came=came, fix=fix
    )


def _unreachable(settings: MqttSettings, error: Exception) -> tuple[str, str]:
    """What came, and what to do."""
    where = f"{settings.host}:{settings.port}"
    match error:
        case ssl.SSLCertVerificationError(verify_code=9):  # X509_V_ERR_CERT_NOT_YET_VALID
            came, fix = f"certificate not trusted: {error.verify_message}", "set the clock of this machine"
        case ssl.SSLCertVerificationError():
            came, fix = (
                f"certificate not trusted: {error.verify_message}",
                "set ca_file to the authority that signed it",
            )
        case ssl.SSLError():
            came, fix = f"TLS failed: {error.reason or error}", f"check cert_file, and that {where} is a TLS port"
        case socket.gaierror():
            came, fix = f"no such host: {settings.host}", "correct the host in the url, or the name server"
        case ConnectionRefusedError():
            came, fix = "connection refused", f"start the broker, or correct the url; nothing listens at {where}"
        case TimeoutError():
            came = f"no answer within {settings.connect_timeout_s:g} s"
            fix = f"check that {where} is a broker's port and that no firewall is in the way"
        case ConnectionResetError() | BrokenPipeError():
            came, fix = "connection closed before an answer", f"check the broker's log, and whether {_hint(settings)}"
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            came, fix = (error.strerror or str(error)).lower(), "check the network"
        case _:
            came, fix = str(error), "correct the url or the network"
    return f"'{came}'", fix


def _hint(settings: MqttSettings) -> str:
    """What a broker may have missed; with TLS 1.3 it closes without saying that it was the certificate."""
    where = f"{settings.host}:{settings.port}"
    if not settings.tls:
        return f"{where} wants TLS (mqtts://)"
    if settings.cert_file is None:
        return f"{where} wants a certificate of ours (identity, or cert_file and key_file)"
    return f"the certificate {settings.cert_file} is of an authority that {where} trusts, and has not ended"


def publish_error(topic: str, code: int) -> PublishRefused:
    """The error for a refusing PUBACK (MQTT 5 §3.4.2.1)."""
    return PublishRefused(
        f"the broker did not take a message on {topic!r}",
        expected="PUBACK 'success'",
        came=f"'{said(mqtt5.PubAckReasonCode, code)}'",
        fix="check the broker's access rules and quotas for this topic",
    )


def subscribe_error(topic_filter: str, code: int) -> BrokerRefused:
    """The error for a refusing SUBACK (MQTT 5 §3.9.3)."""
    return BrokerRefused(
        f"the broker does not let us subscribe to {topic_filter!r}",
        expected="SUBACK 'granted'",
        came=f"'{said(mqtt5.SubAckReasonCode, code)}'",
        fix="check the broker's access rules for this filter",
    )


def too_large_error(topic: str, payload_bytes: int, max_payload_bytes: int) -> PacketTooLarge:
    """The error for a payload over the limit."""
    return PacketTooLarge(
        f"a message on {topic!r}",
        expected=f"a payload of at most {max_payload_bytes} bytes",
        came=f"{payload_bytes} bytes",
        fix="send it in pieces, or raise the broker's maximum packet size",
    )


def closed_error(url: str) -> BusError:
    """The error for calls that still wait when the bus is closed."""
    return BusError(
        f"the bus at {url} was closed", expected="an open bus", came="close()", fix="send before closing the bus"
    )
