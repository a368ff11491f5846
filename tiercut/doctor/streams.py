"""What the hub says of a site's streams."""

from __future__ import annotations

from collections.abc import Mapping

from tiercut.doctor.findings import Finding, good, problem, warning
from tiercut.protocol.streams import StreamStatus


def streams(said: Mapping[str, StreamStatus]) -> list[Finding]:
    """Which run, and why others do not."""
    findings = []
    for name, status in sorted(said.items()):
        if status.state == "running":
            continue
        make = problem if status.state in {"refused", "failed"} else warning
        says = f"'{name}' is {status.state}: {status.message or 'the hub does not say why'}"
        findings.append(make("streams", says, f"do what it says, or look with: tiercut stream show {name}"))
    running = [name for name, status in sorted(said.items()) if status.state == "running"]
    return [good("streams", f"running: {', '.join(running)}"), *findings] if running else findings
