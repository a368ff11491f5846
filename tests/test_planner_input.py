"""A problem that is not valid is refused, and the message names the field."""

import math
from typing import Any

import pytest

from tests.planning import solve
from tests.test_planner import line
from tiercut.errors import SettingsError

Keys = tuple[str | int, ...]

WRONG: list[tuple[Keys, Any, str]] = [
    (("format",), "tiercut-plan-problem/3", "'format'.*tiercut-plan-problem/1, tiercut-plan-problem/2"),
    (("objective",), "speed", "'objective'.*latency, accuracy, energy, throughput"),
    (("objective",), None, "'objective'.*nothing"),
    (("model",), [], "'model'.*an object"),
    (("model", "variants"), [], "'model.variants'.*at least one"),
    (("model", "variants", 0, "cut_bytes"), [5], "'model.variants.0..cut_bytes'.*at least 2"),
    (("model", "variants", 0, "cut_bytes"), [5, -1, 3], "cut_bytes.1.'.*at least 0.*-1"),
    (("model", "variants", 0, "cut_bytes"), [5, "6", 3], "cut_bytes'.*a list of numbers"),
    (("model", "variants", 0, "accuracy"), 71, "accuracy'.*at most 1.*71"),
    (("nodes", 0, "tier"), "fog", "'nodes.0..tier'.*device, edge, cloud"),
    (("nodes", 1, "tier"), "device", "'nodes'.*exactly one.*device"),
    (("nodes", 1, "id"), "device", "'nodes.1..id'.*no other has"),
    (("nodes", 1, "block_seconds"), {"full": [1.0]}, "block_seconds.full'.*2 numbers.*1 numbers"),
    (("nodes", 1, "block_seconds"), {"full": [1.0, math.nan]}, "full.1.'.*finite.*nan"),
    (("nodes", 1, "block_seconds"), {"full": [1.0, 10**400]}, "full.*finite"),
    (("nodes", 1, "block_seconds"), {"fulll": [1.0, 1.0]}, "'full'"),
    (("nodes", 1, "slow_down"), 4, "'nodes.1..slow_down'.*'slowdown'"),
    (("nodes", 1, "slowdown"), 0, "slowdown'.*greater than 0"),
    (("nodes", 1, "queue_seconds"), True, "queue_seconds'.*a number"),
    (("links", 0, "mbps"), 0, "'links.0..mbps'.*greater than 0"),
    (("links", 0, "mbps"), math.inf, "mbps"),
    (("links", 0, "latency_seconds"), None, "latency_seconds'.*nothing"),
    (("links", 0, "to"), "nowhere", "'links.0..to'.*cloud, device, edge"),
    (("links", 1), {"from": "device", "to": "edge", "latency_seconds": 0, "mbps": 1}, "'links.1.'.*no other"),
    (("codecs",), [{"name": "c", "ratio": 0}], "ratio'.*greater than 0"),
    (("codecs",), [{"name": "c", "ratio": 2, "cuts": [3, 1]}], "cuts'.*first <= last"),
    (("codecs",), [{"name": "raw", "ratio": 2}], "another name"),
    (("codecs",), [{"name": "c", "ratio": 2, "noise": -0.1}], "noise'.*at least 0"),
    (("codecs",), [{"name": "c", "ratio": 2, "noise": "much"}], "noise'.*a number"),
    (("codecs",), [{"name": "c", "ratio": 2, "noice": 0.1}], "'codecs.0..noice'.*'noise'"),
    (("codecs",), [{"name": "raw", "ratio": 1, "noise": 0.1}], "another name"),
    (("constraints", "min_noise"), -1, "min_noise'.*at least 0"),
    (("constraints", "minimum_noise"), 0.1, "'constraints.minimum_noise'.*min_noise"),
    (("constraints", "deadline"), 1, "'constraints.deadline'.*deadline_seconds"),
    (("constraints", "min_first_cut"), 1.5, "min_first_cut'.*whole number"),
    (("constraints", "deadline_seconds"), -1, "deadline_seconds'.*at least 0"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG)
def test_wrong_field_is_named_with_what_was_expected(where: Keys, value: object, message: str) -> None:
    problem: Any = line()
    at = problem
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    with pytest.raises(SettingsError, match=message) as caught:
        solve(problem)
    assert caught.value.exit_status == 2


def test_text_that_is_no_unicode_is_refused() -> None:
    problem = line()
    problem["nodes"][0]["tier"] = "\ud800"
    with pytest.raises(SettingsError, match="texts in Unicode"):
        solve(problem)


def test_whatever_is_no_object_is_refused() -> None:
    values: tuple[object, ...] = (None, [], "problem", 3)
    for value in values:
        with pytest.raises(SettingsError, match="an object"):
            solve(value)  # type: ignore[arg-type]


def test_own_notes_are_left_alone() -> None:
    problem = line(comment="measured on a Tuesday")
    problem["nodes"][0]["room"] = "cellar"
    assert solve(problem)["feasible"]


def test_raw_may_be_listed_as_what_it_is() -> None:
    assert solve(line(codecs=[{"name": "raw", "ratio": 1}])) == solve(line())
