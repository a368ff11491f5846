"""Documents that people write, with a wrong value at every place: each is answered, or refused by a sentence."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiercut.errors import SettingsError
from tiercut.planner.document import solve
from tiercut.planner.site.document import is_site, solve_site
from tiercut.simulate.scenario import scenario_of

ROOT = Path(__file__).parent.parent
WRONG: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    -0.0,
    1e-320,
    1e308,
    10**400,
    math.inf,
    math.nan,
    "",
    "x",
    "a" * 5000,
    [],
    {},
    [None],
    [1, 2],
    [[1, 2]],
    [["a", "b"]],
    {"a": 1},
]
MISSING = object()
Place = tuple[str | int, ...]


def places(value: Any, items: int, at: Place = ()) -> Iterator[Place]:
    """The way to every part of a document, with the first items of lists."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:items]) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, items, (*at, key))


def spoilt(document: Any, items: int = 2) -> Iterator[tuple[Place, Any]]:
    """The document with a wrong value at one place, and with that place missing."""
    for place in places(document, items):
        for value in WRONG:
            yield place, _changed(document, place, value)
        if place:
            yield place, _changed(document, place, MISSING)


def _changed(document: Any, place: Place, value: object) -> Any:
    if not place:
        return value
    other = copy.deepcopy(document)
    at = other
    for key in place[:-1]:
        at = at[key]
    if value is MISSING:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return other


def problem(name: str) -> Any:
    return json.loads((ROOT / "tests" / "data" / name).read_text())["problem"]


def hold(read: Callable[[Any], object], documents: Iterator[tuple[Place, Any]]) -> int:
    """How many were refused; whatever is no such refusal fails the test."""
    refused = 0
    for place, document in documents:
        try:
            read(document)
        except SettingsError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error
    return refused


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers near the greatest: plans of infinite time are none
@pytest.mark.parametrize("name", ["plan/no-node-holds-it-alone.json", "plan/two-cuts-win.json"])
def test_wrong_value_in_a_problem_is_refused_by_a_sentence(name: str) -> None:
    assert hold(lambda each: json.dumps(solve(each), allow_nan=False), spoilt(problem(name), 1)) > 100


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_value_in_a_problem_of_many_streams_is_refused_by_a_sentence() -> None:
    documents = spoilt(problem("plan_site/three-cameras-share-an-uplink.json"))
    sites = ((place, each) for place, each in documents if is_site(each))
    assert hold(lambda each: json.dumps(solve_site(each), allow_nan=False), sites) > 500


@pytest.mark.parametrize("name", ["eight-cameras.toml", "busy-edge.toml"])
def test_wrong_value_in_a_scenario_is_refused_by_a_sentence(name: str) -> None:
    path = ROOT / "examples" / "scenarios" / name
    document = tomllib.loads(path.read_text())
    assert hold(lambda each: scenario_of(each, folder=path.parent), spoilt(document, 1)) > 200
