"""The hub's statuses of a site's streams."""

from __future__ import annotations

from collections.abc import Mapping

from tiercut.doctor.findings import Finding, good, problem, warning
from tiercut.protocol.streams import StreamStatus


def streams(said: Mapping[str, StreamStatus]) -> list[Finding]:
    """Which run, and why the others do not."""
    findings = []
    for name, status in sorted(said.items()):
        if status.state == "running":
            continue
        make = problem if status.state in {"refused", "failed"} else warning
        says = f"'{name}' is {status.state}: {status.message or 'the hub gives no reason'}"
        findings.append(make("streams", says, f"follow the message, or run: tiercut stream show {name}"))
    running = [name for name, status in sorted(said.items()) if status.state == "running"]
    return [good("streams", f"running: {', '.join(running)}"), *findings] if running else findings
