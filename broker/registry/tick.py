"""What the registry does as time passes: check what fits, assign it, and report what has changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from msgspec import structs

from broker.coordination.goals import goal_of
from broker.registry.actions import Action, Assign, PlanStream, SayStatus
from broker.registry.fitting import fitting_model
from broker.registry.placement import give_out
from broker.registry.state import Entry, State
from broker.registry.status import headline, same_but_times, status_of
from tiercut.declared import iso_time
from tiercut.errors import TiercutError
from tiercut.protocol.streams import Assignment

log = logging.getLogger(__name__)

#: Counters in a status are at most this old; changes of state are published at once.
COUNTERS_S = 2.0
#: How often to check again what did not fit, and whether a model has a new version.
RECHECK_S = 2.0


def tick(state: State, now_s: float, unix_s: float) -> list[Action]:
    """Look at all streams."""
    for entry in state.entries.values():
        _look_at(state, entry, now_s)
    give_out(state, now_s)
    actions = [*_assign(state), *state.todo]
    state.todo.clear()
    for entry in state.entries.values():
        actions += [*_plan(entry), *_say(state, entry, now_s, unix_s)]
    return actions


def _look_at(state: State, entry: Entry, now_s: float) -> None:
    """Check whether a stream fits: again while it does not, and when its model has another version."""
    settings = entry.settings
    if settings is None or now_s - entry.checked_s < RECHECK_S:
        return
    entry.checked_s = now_s
    newest = state.models.get(settings.model)
    if entry.bundle is not None and (newest is None or newest.model == entry.bundle.model):
        return
    try:
        entry.bundle = fitting_model(settings, state.models, state.by_hand)
        entry.planned_for, entry.refusal = None, ""
    except TiercutError as error:
        state.refuse(entry, str(error))
    except Exception as error:  # a fault in one stream's settings must not end the hub for all the others
        if not entry.refusal:
            log.exception("stream not checked", extra={"stream": entry.name})
        state.refuse(entry, f"a fault in the hub: {type(error).__name__}: {error}")


def _assign(state: State) -> Iterator[Action]:
    """Tell each node what to read, where that has changed."""
    wanted: dict[str, list[Assignment]] = {}
    for entry in state.entries.values():
        settings, bundle = entry.runnable, entry.bundle
        if settings is not None and settings.sensor and entry.node is not None and bundle is not None:
            wanted.setdefault(entry.node, []).append(Assignment(settings, bundle.model))
    for node in sorted(wanted.keys() | state.readers.keys()):
        reader, streams = state.reader(node), tuple(wanted.get(node, ()))
        if streams != (reader.told or ()):
            yield Assign(node, streams)
        reader.told = streams


def _plan(entry: Entry) -> Iterator[Action]:
    """A stream is planned when its sensor is open."""
    settings, bundle = entry.runnable, entry.bundle
    if settings is None or bundle is None or entry.node is None or entry.planned_for == entry.node:
        return
    report = entry.report
    if settings.sensor and (report is None or report.state in ("waiting", "failed") or report.model != bundle.model):
        return
    entry.planned_for = entry.node
    goal = goal_of(replace(settings, device=entry.node), bundle)
    yield PlanStream(replace(goal, moves=not settings.device))


def _say(state: State, entry: Entry, now_s: float, unix_s: float) -> Iterator[Action]:
    said, status = entry.said, status_of(entry, state, unix_s)
    at_once = said is None or headline(said) != headline(status)
    since = iso_time(unix_s) if said is None or said.state != status.state else said.since
    if same_but_times(said, status) or (not at_once and now_s - entry.said_s < COUNTERS_S):
        return
    entry.said, entry.said_s = structs.replace(status, since=since), now_s
    yield SayStatus(entry.said)
