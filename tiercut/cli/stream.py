"""``tiercut stream``: add streams to a site while it runs, list them, show one, remove it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from functools import partial
from pathlib import Path

import msgspec
from msgspec import UNSET

from tiercut.cli.connect import add_connection, connection
from tiercut.cli.stream_bus import Heard, HubState, SiteStreams
from tiercut.cli.stream_view import shown, table
from tiercut.errors import BusError, SensorError, SettingsError
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import StreamStatus, encode_wanted, settings_id
from tiercut.settings import check_names, from_table, read_toml

#: How long the hub may take to answer.
ANSWERED_S = 10.0
#: How long a stream that is accepted may take until its sensor is open.
OPENED_S = 8.0
#: … and after that until its first frame: many sensors publish only now and then.
FIRST_FRAME_S = 3.0
#: How long a hub that does not say of which settings it speaks may take to answer after a change.
CHANGED_S = 1.5
#: The hub's reason where a stream of its settings has the name.
TAKEN = "name_taken"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut stream``."""
    parser = subparsers.add_parser(
        "stream",
        help="add streams to a site while it runs, list them, show one, remove it",
        description="The registry of streams is retained on the site's bus, and kept by its hub.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="add a stream, and wait until it runs or the hub says why not")
    add.add_argument("file", type=Path, help="TOML file of the stream's settings: docs/streams.md has them all")
    add.add_argument("--replace", action="store_true", help="change the stream of this name")
    add.set_defaults(run=run_add)
    listing = commands.add_parser("list", help="print all streams: state, where the sensor is read, frames")
    listing.add_argument("--json", action="store_true", help="print each stream's status as a line of JSON")
    listing.set_defaults(run=run_list)
    show = commands.add_parser("show", help="print a stream's settings as TOML, its status as comments above")
    show.add_argument("name", help="name of the stream")
    show.set_defaults(run=run_show)
    remove = commands.add_parser("remove", help="remove a stream")
    remove.add_argument("name", help="name of the stream")
    remove.set_defaults(run=run_remove)
    for each in (add, listing, show, remove):
        add_connection(each)


def run_add(args: argparse.Namespace) -> int:
    """Add a stream, and print what came of it.

    Raises:
        BusError: the broker cannot be reached or refuses, or no hub answers.
        SettingsError: the settings are wrong or do not fit; what was retained before is retained again.
        SensorError: the sensor cannot be opened; the stream stays, and is tried again.
    """
    settings = from_table(StreamSettings, read_toml(args.file), where=f"the file {args.file}")
    print(asyncio.run(_add(args, settings)))
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print all streams."""
    heard = asyncio.run(_listen(args))
    for status in sorted(heard.statuses.values(), key=lambda each: each.stream) if args.json else ():
        print(json.dumps(msgspec.to_builtins(status)))
    if not args.json:
        print(table(heard.statuses.values()))
    if heard.hub is not HubState.ONLINE:
        print(f"tiercut: {_no_hub(args, heard)}; the last known state is above", file=sys.stderr)
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print a stream.

    Raises:
        SettingsError: there is none of that name.
    """
    check_names(args, "name")
    heard = asyncio.run(_listen(args, args.name))
    status = heard.statuses.get(args.name)
    if status is None and not heard.wanted.get(args.name):
        raise _unknown(args)
    print(shown(args.name, status, heard.wanted.get(args.name, b"")))
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Remove a stream.

    Raises:
        SettingsError: there is none of that name, or it is from the hub's settings.
        BusError: no hub answers.
    """
    check_names(args, "name")
    print(asyncio.run(_remove(args)))
    return 0


async def _listen(args: argparse.Namespace, stream: str | None = None) -> Heard:
    async with SiteStreams(connection(args), args.site, stream) as site:
        return await site.known()


# ---------------------------------------------------------------------- add


async def _add(args: argparse.Namespace, settings: StreamSettings) -> str:
    name = settings.name
    async with SiteStreams(connection(args), args.site, name) as site:
        heard = await site.known()
        before = heard.wanted.get(name, b"")
        if heard.hub is HubState.UNKNOWN:
            raise _no_hub(args, heard)
        if (before or name in heard.statuses) and not args.replace:
            raise SettingsError(
                f"there is a stream '{name}' already",
                expected="a new name",
                came=f"'{name}'",
                fix="choose another name, or change that stream with --replace",
            )
        payload = encode_wanted(settings)
        await site.want(name, payload)
        if heard.hub is HubState.OFFLINE:
            raise _no_hub(args, heard, f"the settings of '{name}' stay retained, and take effect then")
        status = await _outcome(args, site, name, payload)
        if refusal := _refusal(status):
            await site.want(name, before)
            raise _RefusedError(refusal, "it goes on as before" if before else "it was not added")
    return _told(status)


async def _outcome(args: argparse.Namespace, site: SiteStreams, name: str, payload: bytes) -> StreamStatus:
    """The hub's status of the stream with these settings: once it no longer waits, or after a long wait."""
    statuses = site.heard.statuses
    if name in statuses and statuses[name].settings_id is UNSET:
        await asyncio.sleep(CHANGED_S)
    elif not await site.until(partial(_speaks_of, site.heard, name, payload), ANSWERED_S):
        raise BusError(
            "nobody has answered",
            expected=f"an answer from the hub about the stream '{name}' within {ANSWERED_S:.0f} s",
            came="nothing",
            fix=f"see the hub's log; the settings of '{name}' stay retained on {args.broker}",
        )
    waits = partial(_waits, site.heard, name)
    await site.until(lambda: not waits() or site.heard.silent, OPENED_S)
    await site.until(lambda: not waits(), FIRST_FRAME_S)
    if name not in statuses:
        raise SettingsError(
            f"the stream '{name}' was removed meanwhile",
            expected="one command at a time",
            came="another command removed it",
            fix="add it again",
        )
    return statuses[name]


def _speaks_of(heard: Heard, stream: str, payload: bytes) -> bool:
    """Whether the hub speaks of these settings, or another command has replaced them."""
    if heard.wanted.get(stream) != payload:
        return True
    status = heard.statuses.get(stream)
    return status is not None and status.settings_id in {settings_id(payload), UNSET}


def _waits(heard: Heard, stream: str) -> bool:
    return stream in heard.statuses and heard.statuses[stream].state == "waiting"


class _RefusedError(SettingsError):
    """The hub's own sentence, and what was done after it."""

    def __init__(self, sentence: str, after: str) -> None:
        super().__init__(sentence, expected="", came="", fix=after)

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}"


def _refusal(status: StreamStatus) -> str:
    """Why a stream is not taken; empty where it is."""
    taken = next((each.message for each in status.trouble if each.reason == TAKEN), "")
    return taken or (status.message if status.state == "refused" else "")


def _told(status: StreamStatus) -> str:
    name, where = status.stream, f" on '{status.device}'" if status.device else ""
    if status.state == "failed":
        raise SensorError(
            f"the stream '{name}' is in the registry, but its sensor fails",
            expected="a sensor that can be read",
            came=f"{status.message}{where}",
            fix=f"correct that (it is retried), or run: tiercut stream remove {name}",
        )
    if status.state == "waiting":
        return f"'{name}' is in the registry, and waits{where}: {status.message}"
    return f"'{name}' {'has ended' if status.state == 'ended' else 'is running'}{where}, model '{status.model}'"


# ---------------------------------------------------------------------- remove


async def _remove(args: argparse.Namespace) -> str:
    name = args.name
    async with SiteStreams(connection(args), args.site, name) as site:
        heard = await site.known()
        if not heard.wanted.get(name):
            if name not in heard.statuses:
                raise _unknown(args)
            raise SettingsError(
                f"the stream '{name}' cannot be removed",
                expected="a stream that was added while the hub ran",
                came="one that stands in the hub's settings, or an identity without the role operator",
                fix="remove it there and restart the hub, or use an operator's --identity",
            )
        await site.want(name, b"")
        if heard.hub is not HubState.ONLINE:
            raise _no_hub(args, heard, f"'{name}' is no longer retained, and is removed once the hub is back")
        if not await site.until(lambda: name not in heard.statuses, ANSWERED_S):
            raise BusError(
                "nobody has answered",
                expected=f"that the hub removes the stream '{name}' within {ANSWERED_S:.0f} s",
                came="nothing",
                fix="see the hub's log; the settings are no longer retained",
            )
    return f"'{name}' is removed"


def _unknown(args: argparse.Namespace) -> SettingsError:
    return SettingsError(
        f"there is no stream '{args.name}'",
        expected=f"a stream of site '{args.site}'",
        came=f"'{args.name}'",
        fix="see 'tiercut stream list' for their names",
    )


def _no_hub(args: argparse.Namespace, heard: Heard, also: str = "") -> BusError:
    """There is no hub to answer."""
    offline = heard.hub is HubState.OFFLINE
    return BusError(
        f"no hub manages the streams of site '{args.site}'",
        expected=f"a hub on {args.broker}",
        came="a hub that is offline" if offline else "none",
        fix="start the hub" + ("" if offline else ", or correct --site") + (f"; {also}" if also else ""),
    )
