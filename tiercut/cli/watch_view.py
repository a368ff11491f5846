"""What ``tiercut watch`` draws, with rich."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tiercut.cli.demo_view import names_only
from tiercut.cli.watch_state import Known
from tiercut.plan import FULL, name_of
from tiercut.planner.objectives import OBJECTIVES
from tiercut.protocol.nodes import NodeStatus

NONE = "-"
#: Parts of a full site that are named.
MOST_LOADED = 4
#: Where not all streams fit: how long one is shown whole.
TURN_S = 6.0
#: Width that a panel's border and padding take of a line, and height that its border takes.
BORDER, EDGES = 4, 2
#: Parts of a small terminal's height that nodes, and one-line streams, may take.
NODES_SHARE, STREAMS_SHARE = 4, 6


def screen(known: Known, console: Console, now_s: float) -> RenderableType:
    """Nodes on top, a panel for each stream below; on a small terminal one stream after the other, what matters first.

    Args:
        known: What has been heard.
        console: Where it will be drawn: its size counts.
        now_s: Any clock that goes on.
    """
    names, height = sorted(known.explanations), console.size.height
    everything = [*_nodes(known, None), *(_panel(known, name, console, None) for name in names)]
    if not names:
        everything.append(Text(f"no stream of site '{known.site}' has said anything yet (is the hub running?)", "dim"))
    whole = Group(*_site(known, f"site {known.site}"), *everything)
    if not names or _lines(whole, console, console.size.width) <= height:
        return whole
    turn, over_s = divmod(now_s, TURN_S)
    name = names[int(turn) % len(names)]
    title = f"site {known.site}"
    if len(names) > 1:
        title += f" · stream {names.index(name) + 1} of {len(names)}, next in {TURN_S - over_s:.0f} s"
    above = [*_site(known, title), *_nodes(known, height // NODES_SHARE), *_others(known, name, height)]
    return Group(*above, _panel(known, name, console, height - _lines(Group(*above), console, console.size.width)))


def _site(known: Known, title: str) -> list[RenderableType]:
    """The site's name, what it gives as a whole, and which of its parts are full."""
    capacity = known.capacity
    if capacity is None or (len(capacity.streams) < 2 and not capacity.as_one):  # noqa: PLR2004 - of one its panel tells
        return [Text(title, style="italic")]
    above: list[RenderableType] = [Text(title, style="italic"), Text(capacity.message, style="bold")]
    full = sorted(((part, where) for where, part in capacity.load.items()), reverse=True)[:MOST_LOADED]
    if full:
        busy = ", ".join(f"{names_only(where)} {part:.0%}" for part, where in full)
        above.append(Text(f"planned as one: {busy}", style="dim"))
    above += [Text(said, style="yellow") for said in capacity.found_lines or ()]
    return above


def _lines(part: RenderableType, console: Console, width: int) -> int:
    """How many lines it takes."""
    return len(console.render_lines(part, console.options.update(width=width, height=None)))


def _nodes(known: Known, most: int | None) -> list[RenderableType]:
    """A line for each node; where there are more than ``most``, those that are away come first."""
    nodes = sorted(known.nodes.items(), key=lambda item: (most is not None and item[1].state == "online", item[0]))
    table = Table(box=None, expand=True, pad_edge=False, collapse_padding=True)
    for column in ("tier", "node", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("busy", "wait", "done", "drop"):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("link", no_wrap=True, ratio=1)
    for _, status in nodes[:most]:
        table.add_row(*_node(status))
    left = [status.state for _, status in nodes[most:]] if most is not None else []
    more = f"and {len(left)} nodes more, {left.count('online')} of them online"
    return [table, *([Text(more, style="dim")] if left else [])]


def _node(status: NodeStatus) -> list[Text]:
    load = status.load
    dropped = sum(count for reason, count in load.items() if reason.startswith(("dropped.", "bad.")))
    done = load.get("frames_done", load.get("frames_finished", 0) + load.get("frames_forwarded", 0))
    busy = f"{load['busy']:.0%}" if "busy" in load else NONE
    figures = (busy, f"{load.get('waiting', 0):.0f}", f"{done:.0f}", f"{dropped:.0f}")
    state = Text(status.state, style="green" if status.state == "online" else "red")
    return [Text(status.tier), Text(status.node), state, *map(Text, figures), _emulation(status.emulated_link)]


def trouble_in(explanation: Mapping[str, Any]) -> list[str]:
    """Why a stream has no better plan, and what it is short of."""
    short = explanation.get("short")
    said = (explanation.get("trouble"), short["message"] if isinstance(short, dict) else None)
    return [str(each) for each in said if each]


def _emulation(link: str | None) -> Text:
    """What is emulated, in the fewest words: ``EMULATED 1.1 Mbps, 3 ms; 10x slower``."""
    if link is None:
        return Text("real")
    slower = re.sub(r"emulated slowdown: ([\d.]+)", r"\1x slower", link)
    return Text(f"EMULATED {slower.replace('emulated link: ', '')}", style="yellow")


def _others(known: Known, shown: str, height: int) -> list[RenderableType]:
    """A line for each other stream, those in trouble first."""
    others = [(not trouble_in(said), name) for name, said in known.explanations.items() if name != shown]
    lines: list[RenderableType] = []
    for well, name in sorted(others)[: height // STREAMS_SHARE]:
        said = known.explanations[name]
        text = f"{name}: {_plan_words(said) if well else names_only('; '.join(trouble_in(said)))}"
        lines.append(Text(text, style="dim" if well else "bold red", no_wrap=True, overflow="ellipsis"))
    return lines


def _panel(known: Known, name: str, console: Console, height: int | None) -> RenderableType:
    """A stream: as many of its parts as ``height`` lines have room for (``None``: all), and what those left out are."""
    said = known.explanations[name]
    left = (height or sys.maxsize) - EDGES
    shown: list[RenderableType] = []
    missing: dict[str, None] = {}
    for what, part in _parts(said, known.results.get(name)):
        lines = _lines(part, console, console.size.width - BORDER)
        if lines <= left or not shown:
            shown.append(part)
            left -= lines
        else:
            missing[what] = None
    known_objective = OBJECTIVES.get(said["objective"])
    title = Text(f"stream {name}: {said['objective'] if known_objective is None else known_objective.aim}")
    below = Text(f"a taller window shows: {', '.join(missing)}", style="dim") if missing else None
    return Panel(Group(*shown), title=title, title_align="left", subtitle=below, subtitle_align="left")


def _parts(said: dict[str, Any], result: dict[str, Any] | None) -> Iterator[tuple[str, RenderableType]]:
    """What there is to say of a stream, each with its name: the most important first."""
    yield "plan", Text(_plan_words(said), style="bold" if said.get("plan") else "yellow")
    yield from _of_full_site(said)
    changes: list[dict[str, Any]] = list(said.get("changes", ()))
    for last in changes[-1:]:
        yield "why", Text(f"why  plan {last['epoch']}: {names_only(str(last['reason']))}")
    for trouble in trouble_in(said):
        yield "trouble", Text(names_only(trouble), style="bold red")
    for warning in said.get("warnings", ()):
        yield "warnings", Text(f"warning: {names_only(str(warning))}", style="yellow")
    if said.get("deadline"):
        yield "deadline", Text(_deadline_words(said["deadline"]))
    if len(said.get("exits") or ()) > 1:
        shares = (f"{share:.1%} {name}" for name, share in said["exits"].items())
        yield "exits", Text(f"frames leave at: {', '.join(shares)}")
    yield "times", _times(said, result)
    if said.get("alternatives"):
        yield "alternatives", _alternatives(said)
    if said.get("links"):
        yield "links", _links(said["links"])
    if said.get("nodes"):
        yield "loads", _loads(said["nodes"])
    for change in reversed(changes[:-1]):
        yield "older changes", Text(f"plan {change['epoch']}: {names_only(str(change['reason']))}", style="dim")


def _of_full_site(said: dict[str, Any]) -> Iterator[tuple[str, RenderableType]]:
    """The other plans that its frames follow, and how many frames there is room for."""
    for other in (said.get("mix") or ())[1:]:
        yield "plans", Text(_plan_words({"plan": other["plan"], "mix": [other]}), style="bold")
    if said.get("room_frames_per_second"):
        asked = said.get("asked_frames_per_second")
        of = "" if asked is None else f" of {asked:.3g}"
        yield "room", Text(f"room  {said['room_frames_per_second']:.3g}{of} frames/s", style="yellow")


def _plan_words(said: dict[str, Any]) -> str:
    plan = said.get("plan")
    if plan is None:
        return "no plan yet"
    codecs = ", ".join(str(codec).partition("@")[0] for codec in plan["codecs"]) or "no hop"
    route = " → ".join(["device", *(name_of(str(plan[tier])) for tier in ("edge", "cloud") if plan[tier])])
    cuts = f"cuts {plan['first_cut']} and {plan['second_cut']}"
    held = {"freeze": " (frozen)", "plan": " (given by hand)"}.get(str(said.get("control")), "")
    variant = "" if plan.get("variant", FULL) == FULL else f", leaves at {plan['variant']}"
    share = "" if not said.get("mix") else f"{said['mix'][0]['share']:.0%} of the frames "
    return f"plan {plan['epoch']}: {share}{route}, {cuts}, {codecs}{variant}{held}"


def _deadline_words(deadline: dict[str, Any]) -> str:
    met = "nothing counted yet"
    if deadline.get("met_share") is not None:
        met = f"met by {deadline['met_share']:.1%} of {deadline['frames']} frames of this plan"
    return f"deadline  {deadline['ms']:.0f} ms, {deadline['margin_ms']:.1f} ms of it kept free; {met}"


def _times(said: dict[str, Any], result: dict[str, Any] | None) -> RenderableType:
    predicted = said.get("predicted") or {}
    stages = ", ".join(f"{names_only(s['where'])} {s['seconds'] * 1e3:.1f}" for s in predicted.get("stages", ()))
    now = f"predicted {_ms(predicted.get('latency_seconds'))} ms ({stages})" if predicted else "predicted -"
    measured = said.get("measured_ms")
    spent = ""
    if result is not None:
        parts = [f"{s['where']} {s['kind']} {s['ms']:.1f}" for s in result["stages"] if s["ms"] >= 0.05]  # noqa: PLR2004 - shown to 0.1
        spent = f" (last: {', '.join(parts)})"
    return Text(f"{now}\nmeasured  {NONE if measured is None else f'{measured:.1f}'} ms{spent}")


def _alternatives(said: dict[str, Any]) -> RenderableType:
    """A column for each: what it would take, and its cuts."""
    table = Table(box=None, pad_edge=False)
    table.add_column("beside it", no_wrap=True)
    times, cuts = ["ms"], ["cuts"]
    for name, answer in said["alternatives"].items():
        possible = answer is not None and answer.get("feasible")
        table.add_column(Text(str(name)), justify="right")
        times.append(_ms(answer["latency_seconds"]) if possible else "not possible")
        cuts.append(f"{answer['first_cut']}, {answer['second_cut']}" if possible else NONE)
    table.add_row(*times)
    table.add_row(*cuts)
    return table


def _links(links: list[dict[str, Any]]) -> Text:
    words = [
        f"{name_of(link['from'])} → {name_of(link['to'])} {_rate(link)} {link['latency_seconds'] * 1e3:.1f} ms"
        for link in links
    ]
    return Text("links  " + " · ".join(words), style="dim")


def _loads(nodes: list[dict[str, Any]]) -> Text:
    words = [
        f"{name_of(node['id'])} {node['slowdown']:.2f} times its profile, queue {node['queue_seconds'] * 1e3:.1f} ms"
        for node in nodes
    ]
    return Text("loads  " + " · ".join(words), style="dim")


def _rate(link: dict[str, Any]) -> str:
    if link.get("source") == "guessed":
        return f"{link['mbps']:.3g} Mbps (a guess)"
    std = link.get("mbps_std", 0.0)
    if std > link["mbps"]:
        return f"about {link['mbps']:.3g} Mbps"
    return f"{link['mbps']:.3g} ± {std:.1g} Mbps"


def _ms(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds * 1e3:.1f}"
