"""How long certificates are still valid."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509

from tiercut.doctor.findings import Finding, good, problem, warning

#: Enough time to renew a certificate without haste.
SOON_DAYS = 30


def lifetime(check: str, whose: str, certificate: x509.Certificate, now: dt.datetime, *, fix: str) -> Finding:
    """Days left of one certificate.

    Args:
        check: Name of the check.
        whose: Its owner, for people.
        certificate: The certificate.
        now: The time.
        fix: How it is renewed.
    """
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = (ends - now) / dt.timedelta(days=1)
    if now < starts:
        return problem(check, f"{whose} is valid from {starts:%Y-%m-%d %H:%M} UTC on", "set this machine's clock")
    if days <= 0:
        return problem(check, f"{whose} has ended on {ends:%Y-%m-%d %H:%M} UTC", fix)
    if days < SOON_DAYS:
        return warning(check, f"{whose} ends in {days:.0f} days", fix)
    return good(check, f"{whose} is valid for {days:.0f} days")


def of_files(cert_file: str | None, ca_file: str | None, now: dt.datetime) -> list[Finding]:
    """Our own certificate, and the authorities that we trust."""
    findings: list[Finding] = []
    for path, whose, fix in (
        (cert_file, "our certificate", "renew it: tiercut certs renew"),
        (ca_file, "the authority", "make a new authority, and have both trusted for a while: docs/security.md"),
    ):
        if path is None:
            continue
        check = f"certificate {Path(path).name}"
        try:
            found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            findings.append(problem(check, f"{path} cannot be read: {error}", "correct the path or the file"))
            continue
        certificates = found[:1] if path == cert_file else found
        findings += [lifetime(check, whose, each, now, fix=fix) for each in certificates]
    return findings
