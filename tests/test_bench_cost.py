"""The bench of what a frame costs: what it reads of the kernel, the broker and py-spy, and a short run of it all."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import tiercut
from bench.cost.__main__ import parse, run
from bench.cost.broker_log import Messages, by_process, messages
from bench.cost.claims import claims
from bench.cost.counters import Look, Socket, Spent, carried, cpu_s, sockets, sockets_in, switches_in
from bench.cost.figures import Figures, Turns, beyond_s, stage_table
from bench.cost.measure import Measured
from bench.cost.metered import Meters
from bench.cost.profile import by_package, package_of
from bench.cost.report import as_json, report
from bench.cost.rivals.table import Entry
from bench.cost.systems import Frame
from bench.ledger import Ledger, read
from tiercut.model.preprocess import FrameSpec

LISTED = """\
ESTAB 0      0      127.0.0.1:41319    127.0.0.1:39783 users:(("python",pid=7413,fd=12))
\t cubic wscale:10,10 rto:208 bytes_sent:31784 bytes_acked:31784 bytes_received:167913 segs_out:155
ESTAB 0      0      [::1]:50312    [::1]:60833
\t cubic wscale:10,10 bytes_sent:5
ESTAB 900    0      127.0.0.1:60833    127.0.0.1:50312 users:(("a",pid=7,fd=5),("b",pid=8,fd=5))
\t cubic wscale:10,10 rto:204 bytes_received:1000 segs_out:1
"""
LOG = """\
1796018715: New client connected from 127.0.0.1:39783 as edge-1 (p5, c0, k60).
1796018715: New client connected from 127.0.0.1:39784 as auto-2 (p5, c1, k60).
1796018716: Received PUBLISH from edge-1 (d0, q1, r0, m1, 'a/Received PUBLISH', ... (31360 bytes))
1796018716: Sending PUBACK to edge-1 (m1, rc0)
1796018716: Received PINGREQ from edge-1
1796018716: Sending PUBLISH to auto-2 (d0, q1, r0, m1, 'a', ... (31360 bytes))
1796018716: Received PUBACK from auto-2 (Mid: 1, RC:0)
"""
PIDS = {"edge": (7413, 7), "device": (8,)}
BURNS = """
import sys, threading, time
def burn():
    while time.thread_time() < 0.3: pass
thread = threading.Thread(target=burn)
thread.start(); thread.join()
print("burnt", flush=True); sys.stdin.readline()
"""


def test_cpu_time_includes_threads_that_have_ended() -> None:
    command = [sys.executable, "-c", BURNS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.3 <= cpu_s(process.pid) < 3.0
        process.communicate("\n")


def test_switches_of_both_kinds_are_added() -> None:
    assert switches_in("Threads:\t1\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n") == 42


def test_switches_of_a_new_thread_count_in_full() -> None:
    assert Look(1.0, {1: 10, 2: 5}).until(Look(1.5, {1: 12, 3: 4})) == Spent(0.5, 6)


def test_sockets_are_read_with_their_processes_and_bytes() -> None:
    first, *shared = sockets_in(LISTED)
    assert first == Socket(7413, 41319, sent=31784, received=167913)
    assert [each.pid for each in shared] == [7, 8]
    assert carried(PIDS, [first, *shared]) == {"edge": (31784, 168913), "device": (0, 1000)}


def test_own_sockets_are_found() -> None:
    assert isinstance(sockets(), list)  # the form of this machine's ss is read without an error


def test_messages_are_counted_as_each_client_sees_them() -> None:
    counted = messages(LOG)
    assert counted["edge-1"] == Messages(out=1, acks_in=1)
    assert counted["auto-2"] == Messages(into=1, acks_out=1)


def test_clients_are_told_apart_by_their_ports_and_counted_from_a_place_in_the_log() -> None:
    open_now = [Socket(7, 39783, 0, 0), Socket(8, 39784, 0, 0)]
    since = LOG.index("1796018716: Sending PUBLISH")
    assert by_process(PIDS, open_now, LOG, 0)["edge"] == Messages(out=1, acks_in=1)
    assert by_process(PIDS, open_now, LOG, since) == {"edge": Messages(), "device": Messages(into=1, acks_out=1)}


def test_nested_work_is_metered_once_and_its_frame_too(tmp_path: Path) -> None:
    meters = Meters(Ledger(tmp_path / "x.work"))
    inner = meters.around(lambda: sum(range(200_000)), frames=1)
    outer = meters.around(lambda: inner() + inner(), frames=1)
    outer()
    alone = read(tmp_path / "x.work")
    inner()
    assert alone.frames == 1
    assert 0 < (read(tmp_path / "x.work") - alone).cpu_s < alone.cpu_s


def test_ledger_that_nobody_has_begun_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none.work").frames == 0


def test_stages_of_a_node_are_added_and_what_none_tells_is_left() -> None:
    stages = (("d", "prepare", 9.0), ("d", "compute", 1.0), ("e", "wire", 0.5), ("d", "compute", 1.0))
    rows = stage_table([Frame(4.0, 2.0, stages)])
    assert [(row.where, row.kind, row.p50_s) for row in rows] == [
        ("d", "prepare", 9.0),
        ("d", "compute", 2.0),
        ("e", "wire", 0.5),
        ("", "no stage", 1.5),
    ]


@pytest.mark.parametrize(
    ("frame", "package"),
    [
        ("publish (/x/tiercut/bus/mqtt.py:12)", "tiercut.bus"),
        ("monotonic_s (/x/tiercut/clock.py:3)", "tiercut.clock"),
        ("run (/x/edge_node/node.py:3)", "edge_node"),
        ("on (/x/broker/coordination/shell.py:3)", "broker.coordination"),
        ("run (/v/lib/python3.11/site-packages/onnxruntime/capi/x.py:9)", "onnxruntime"),
        ("select (/u/lib/python3.11/selectors.py:468)", "selectors"),
        ("_run (/u/lib/python3.11/asyncio/events.py:84)", "asyncio"),
        ("memcpy (libc.so.6)", "interpreter"),
    ],
)
def test_frames_belong_to_packages(frame: str, package: str) -> None:
    assert package_of(frame) == package


def test_samples_count_for_the_innermost_frame() -> None:
    raw = "main (/x/a.py:1);_run (/u/python3.11/asyncio/events.py:8) 3\nmain (/x/tiercut/bus/a.py:1) 1\n"
    assert by_package(raw) == {"asyncio": 0.75, "tiercut.bus": 0.25}


def measured(node_ms: float, overhead_ms: float, *, late_ms: float = 0.0) -> Measured:
    """Ten frames with 5 ms of work per node; the tenth is late."""
    nodes = ("device", "edge", "cloud")
    frames = [Frame(0.015 + overhead_ms / 1e3 + (late_ms / 1e3 if k == 9 else 0.0), 0.015) for k in range(10)]
    spent = dict.fromkeys(nodes, Spent(node_ms / 1e3, 5.0)) | {"hub": Spent(0.0002, 1.0)}
    return Measured(frames, spent, dict.fromkeys(nodes, 0.005), dict.fromkeys(nodes, 80.0))


def test_claims_call_a_miss_a_miss() -> None:
    quiet = Turns(0, {"bare": [measured(6.0, 2.0)], "tiercut": [measured(7.0, 2.2, late_ms=30.0)]})
    made = {claim.what: claim for claim in claims(Figures({}, turns=[quiet]))}
    assert beyond_s(quiet.measured["tiercut"][0]) == pytest.approx(0.006)
    cpu = made["CPU per frame beyond model and codecs, against bare (quiet)"]
    assert (cpu.came, cpu.met) == ("2.00 x", False)
    assert made["overhead of three hops, p50, against bare (quiet)"].met
    assert not made["p99 of end to end, quiet"].met
    assert made["hub's CPU per frame (quiet)"].met


def test_busy_cores_have_a_limit_of_their_own() -> None:
    turns = {"bare": [measured(6.0, 2.0)], "tiercut": [measured(6.2, 2.8)]}
    quiet, busy = (claims(Figures({}, turns=[Turns(count, turns)])) for count in (0, 2))
    assert [claim.met for claim in quiet if "overhead" in claim.what] == [False]
    assert [claim.met for claim in busy if "overhead" in claim.what] == [True]


def test_rivals_that_are_not_installed_are_no_victory() -> None:
    def hop(name: str) -> list[Measured]:
        each = measured(6.0, 1.0)
        ends = {"device": "client", "cloud": "server"} if name == "aiohttp" else {n: n for n in ("device", "cloud")}
        spent = {new: each.spent[old] for old, new in ends.items()}
        work_s = {new: each.work_s[old] for old, new in ends.items()}
        resident_mb = {new: each.resident_mb[old] for old, new in ends.items()}
        return [Measured(each.frames, spent, work_s, resident_mb)]

    made = claims(Figures({}, hop=Turns(0, {name: hop(name) for name in ("tiercut", "aiohttp")})))
    assert len(made) == 2
    assert not any(claim.met for claim in made)


def test_run_that_was_broken_off_reports_what_it_has() -> None:
    half = Turns(2, {"bare": [measured(6.0, 2.0)]})
    whole = Turns(0, {"whole": [], "bare": [measured(6.0, 2.0)], "tiercut": [measured(6.2, 2.2)]})
    assert len(claims(Figures({}, turns=[whole, half]))) == len(claims(Figures({}, turns=[whole])))


def test_missing_rival_says_what_to_install() -> None:
    entry = Entry("Nobody", "bench.cost.rivals.nobody", ("no_such_package",), "tiercut[rivals]")
    assert "tiercut[rivals]" in (entry.missing() or "")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tiercut.Bundle:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1)]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()
    frame = FrameSpec(size=(96, 96), mean=(127.0,), std=(128.0,))
    folder = tmp_path_factory.mktemp("bundles") / "small"
    return tiercut.export(module, (torch.zeros(1, 3, 96, 96),), folder, name="small", preprocess=frame)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_each_system_is_measured_with_rivals_messages_and_cold_starts(small: tiercut.Bundle) -> None:
    args = parse(["--frames", "20", "--rounds", "1", "--idle-s", "1", "--rivals", "--cold"])
    figures = Figures({})
    asyncio.run(run(args, small, figures))
    turns = figures.turns[0].measured
    for name in ("bare", "tiercut"):
        assert set(turns[name][0].work_s) == {"device", "edge", "cloud"}
        assert beyond_s(turns[name][0]) > 0
        assert figures.traffic[name].messages["edge"].out >= 18  # one per frame
        assert figures.traffic[name].bytes["edge"][1] > 1000
    assert figures.hop is not None
    assert {"tiercut", "aiohttp"} <= set(figures.hop.measured)
    assert set(figures.cold_s) == {"device", "edge", "cloud"}
    assert any("cold start" in line for line in report(figures))
    assert json.dumps(as_json(figures))


@pytest.mark.parametrize("words", [["--frames", "0"], ["--rounds", "-1"], ["--fps", "0"], ["--busy", "0", "-2"]])
def test_numbers_that_measure_nothing_are_refused_with_a_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(words)
    assert f"{words[0]} is not valid" in capsys.readouterr().err
