"""What ``tiercut watch`` draws, with rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tiercut.plan import name_of

if TYPE_CHECKING:
    from tiercut.cli.watch import Known

NONE = "-"


def screen(known: Known) -> RenderableType:
    """Nodes on top, a panel for each stream below."""
    streams = [_stream(name, said, known.results.get(name)) for name, said in sorted(known.explanations.items())]
    waiting = Text(f"no stream of site '{known.site}' has said anything yet (is the hub running?)", style="dim")
    return Group(_nodes(known), *(streams or [waiting]))


def _nodes(known: Known) -> RenderableType:
    table = Table(title=f"site {known.site}", title_justify="left", expand=True)
    for column in ("tier", "node", "state", "busy", "waiting", "done", "dropped", "link"):
        table.add_column(column)
    for (tier, name), status in sorted(known.nodes.items()):
        load = status.load
        dropped = sum(count for reason, count in load.items() if reason.startswith(("dropped.", "bad.")))
        done = load.get("frames_done", load.get("frames_finished", 0) + load.get("frames_forwarded", 0))
        state = Text(status.state, style="green" if status.state == "online" else "red")
        busy = f"{load['busy']:.0%}" if "busy" in load else NONE
        waiting = f"{load.get('waiting', 0):.0f}"
        link = (status.emulated_link or "real").upper() if status.emulated_link else "real"
        table.add_row(tier, name, state, busy, waiting, f"{done:.0f}", f"{dropped:.0f}", link)
    return table


def _stream(name: str, said: dict[str, Any], result: dict[str, Any] | None) -> RenderableType:
    lines: list[RenderableType] = [_plan_line(said)]
    if said.get("trouble"):
        lines.append(Text(str(said["trouble"]), style="bold red"))
    lines += [Text(f"warning: {warning}", style="yellow") for warning in said.get("warnings", ())]
    lines.append(_times(said, result))
    if said.get("alternatives"):
        lines.append(_alternatives(said))
    lines += [_links(said), _changes(said)]
    return Panel(Group(*lines), title=f"stream {name}: least {said['objective']}", title_align="left")


def _plan_line(said: dict[str, Any]) -> Text:
    plan = said.get("plan")
    if plan is None:
        return Text("no plan yet", style="yellow")
    codecs = ", ".join(str(codec).partition("@")[0] for codec in plan["codecs"]) or "no hop"
    route = " → ".join(["device", *(name_of(str(plan[tier])) for tier in ("edge", "cloud") if plan[tier])])
    cuts = f"cuts {plan['first_cut']} and {plan['second_cut']}"
    held = {"freeze": " (frozen)", "plan": " (given by hand)"}.get(str(said.get("control")), "")
    return Text(f"plan {plan['epoch']}: {route}, {cuts}, {codecs}{held}", style="bold")


def _times(said: dict[str, Any], result: dict[str, Any] | None) -> RenderableType:
    predicted = said.get("predicted") or {}
    stages = ", ".join(f"{s['where']} {s['seconds'] * 1e3:.1f}" for s in predicted.get("stages", ()))
    now = f"predicted {_ms(predicted.get('latency_seconds'))} ms ({stages})" if predicted else "predicted -"
    measured = said.get("measured_ms")
    spent = ""
    if result is not None:
        parts = [f"{s['where']} {s['kind']} {s['ms']:.1f}" for s in result["stages"] if s["ms"] >= 0.05]  # noqa: PLR2004 - shown to 0.1
        spent = f" (last: {', '.join(parts)})"
    return Text(f"{now}\nmeasured  {NONE if measured is None else f'{measured:.1f}'} ms{spent}")


def _alternatives(said: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    table.add_column("beside it")
    table.add_column("ms", justify="right")
    table.add_column("cuts", justify="right")
    for name, answer in said["alternatives"].items():
        possible = answer is not None and answer.get("feasible")
        cuts = f"{answer['first_cut']}, {answer['second_cut']}" if possible else NONE
        table.add_row(name, _ms(answer["latency_seconds"]) if possible else "not possible", cuts)
    return table


def _links(said: dict[str, Any]) -> Text:
    links = [
        f"{link['from']} → {link['to']} {_rate(link)} {link['latency_seconds'] * 1e3:.1f} ms"
        for link in said.get("links", ())
    ]
    loads = [
        f"{node['id']} takes {node['slowdown']:.2f} times its profile, queue {node['queue_seconds'] * 1e3:.1f} ms"
        for node in said.get("nodes", ())
    ]
    return Text("links  " + " · ".join(links) + "\nloads  " + " · ".join(loads), style="dim")


def _rate(link: dict[str, Any]) -> str:
    if link.get("source") == "guessed":
        return f"{link['mbps']:.3g} Mbps (a guess)"
    return f"{link['mbps']:.3g} ± {link.get('mbps_std', 0.0):.1g} Mbps"


def _changes(said: dict[str, Any]) -> Text:
    changes = [f"plan {change['epoch']}: {change['reason']}" for change in said.get("changes", ())]
    return Text("\n".join(changes))


def _ms(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds * 1e3:.1f}"
