"""The ``tiercut`` command: a module per subcommand. What the commands do with a site is in the packages below."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tiercut import __version__
from tiercut.cli import (
    bottleneck,
    certs,
    codecs,
    control,
    demo,
    doctor,
    exits,
    export,
    inspect,
    plan,
    privacy,
    profile,
    simulate,
    stream,
    watch,
)
from tiercut.errors import TiercutError

COMMANDS = (
    demo,
    export,
    exits,
    inspect,
    profile,
    codecs,
    bottleneck,
    privacy,
    plan,
    simulate,
    watch,
    stream,
    control,
    certs,
    doctor,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status of `tiercut.errors`."""
    parser = argparse.ArgumentParser(
        prog="tiercut", description="One neural network across a sensor, an edge box and a cloud."
    )
    parser.add_argument("--version", action="version", version=f"tiercut {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    chosen = parser.parse_args(arguments)
    # Before torch is loaded: its threads sleep when they wait for one another. On two cores that other programs used
    # too, a training step of AlexNet took 0.26 s of processor time so, and 0.62 to 0.75 s without (2026-11-21).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status: int = chosen.run(chosen)
    except TiercutError as error:
        print(f"tiercut: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough (tiercut inspect … | head)
        sys.stderr.close()
        return 0
    return status
