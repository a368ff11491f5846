"""Certificates: an authority, and what it signs (elliptic curve P-256, X.509 version 3). No files here."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tiercut.errors import SettingsError
from tiercut.security.identity_list import SERVERS, IdentityName

Key = ec.EllipticCurvePrivateKey
Certificate = x509.Certificate

AUTHORITY_DAYS = 3650
#: Below the 398 days that browsers and some TLS libraries take at most.
CERTIFICATE_DAYS = 397
#: Allowed lengths, in days.
MIN_DAYS, MAX_DAYS = 1, AUTHORITY_DAYS
#: Clocks of small devices run late: a new certificate must be valid there too.
BACKDATED = dt.timedelta(hours=24)
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*")
#: Every server's certificate is for these, besides its name.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that others trust, with the key that signs for it."""

    certificate: Certificate
    key: Key

    @classmethod
    def new(cls, site: str, *, days: int = AUTHORITY_DAYS, now: dt.datetime | None = None) -> Self:
        """A new authority; its name is like no other's, so that two may be trusted side by side."""
        key = new_key()
        name = _name(f"tiercut {site[:32]} {secrets.token_hex(4)}")
        certificate = (
            _builder(name, name, key, days=days, now=now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, pem: bytes) -> Self:
        """From certificate and key in one PEM.

        Raises:
            ValueError: it is none.
        """
        return cls(load_certificates(pem)[0], load_key(pem))

    @property
    def pem(self) -> bytes:
        """Certificate and key."""
        return certificate_pem(self.certificate) + key_pem(self.key)

    def issue(
        self,
        identity: IdentityName,
        key: Key,
        *,
        hosts: Sequence[str] = (),
        days: int = CERTIFICATE_DAYS,
        now: dt.datetime | None = None,
    ) -> Certificate:
        """A certificate for an identity.

        Args:
            identity: Whose; the role says whether it may be a server's.
            key: Its key.
            hosts: Names and addresses by which clients reach it, where it is a server's.
            days: How long it is valid; never longer than the authority.
            now: The time it is made (default: now).

        Raises:
            SettingsError: a host is no name and no address.
        """
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if identity.role in SERVERS:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(_name(str(identity)), self.certificate.subject, key, days=days, now=now, end=self._end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if identity.role in SERVERS:
            names = [_host(each) for each in dict.fromkeys((identity.name, *LOCAL_HOSTS, *hosts))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def _end(self) -> dt.datetime:
        return self.certificate.not_valid_after_utc


def check_days(days: int) -> None:
    """Refuse a length that no certificate has.

    Raises:
        SettingsError: says which are possible.
    """
    if not MIN_DAYS <= days <= MAX_DAYS:
        expected = f"{MIN_DAYS} to {MAX_DAYS} days"
        raise SettingsError("how long a certificate is valid", expected=expected, came=str(days), fix="correct --days")


def signed_by(certificate: Certificate, authority: Certificate) -> bool:
    """Whether a certificate is of an authority."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def new_key() -> Key:
    """A new key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """A key as a file has it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> Key:
    """A key of this project.

    Raises:
        ValueError: it is none.
    """
    key = serialization.load_pem_private_key(pem[max(pem.find(b"-----BEGIN PRIVATE KEY"), 0) :], None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "a key that is not of an elliptic curve"
        raise ValueError(message)  # noqa: TRY004 - the caller's errors are all of this kind
    return key


def certificate_pem(*certificates: Certificate) -> bytes:
    """Certificates as a file has them."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def load_certificates(pem: bytes) -> list[Certificate]:
    """Certificates in a file, whatever else is in it.

    Raises:
        ValueError: there is none.
    """
    return x509.load_pem_x509_certificates(pem)


def common_name(certificate: Certificate) -> str:
    """The common name, empty where there is none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def hosts_of(certificate: Certificate) -> tuple[str, ...]:
    """Names and addresses that a server's certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(each.value) for each in names)


def days_left(certificate: Certificate, *, now: dt.datetime | None = None) -> float:
    """Days until a certificate ends; below 0 it has ended."""
    left = certificate.not_valid_after_utc - (now or dt.datetime.now(dt.UTC))
    return left / dt.timedelta(days=1)


def same_key(certificate: Certificate, key: Key) -> bool:
    """Whether a certificate is for a key."""
    return certificate.public_key() == key.public_key()


def all_trusted(certificates: Iterable[Certificate]) -> bytes:
    """A file of authorities to trust, each once."""
    return certificate_pem(*dict.fromkeys(certificates))


def authority_file(certificate: Certificate) -> str:
    """What OpenSSL calls an authority's file in a folder of authorities: the hash of its canonical subject, ``.0``.

    As ``openssl rehash`` names it, for subjects of one common name: SHA-1 over the SET of it, in lower case.
    """
    oid = bytes.fromhex("0603550403")  # 2.5.4.3, common name
    text = " ".join(common_name(certificate).lower().split()).encode()
    pair = oid + bytes((0x0C, len(text))) + text
    sequence = bytes((0x30, len(pair))) + pair
    digest = hashlib.sha1(bytes((0x31, len(sequence))) + sequence, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}.0"


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    *,
    days: int,
    now: dt.datetime | None,
    end: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    start = now or dt.datetime.now(dt.UTC)
    until = start + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(until if end is None else min(until, end))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise SettingsError(
            "a certificate's host", expected="a host name or an IP address", came=repr(host[:80]), fix="correct --host"
        )
    return x509.DNSName(host)
