"""What nodes do besides their plans' work, and whether changes of a full site's plans have paid."""

from __future__ import annotations

import math

import pytest

from tiercut.coordinator.site.besides import MOST, SETTLED_S, Besides
from tiercut.coordinator.site.patience import KNOWN_S, MOST_WAIT_S, STEADY_S, WAIT_S, Gain, Kind, Patience


def observed(besides: Besides, busy: float, planned: float, *, since_s: float = 0.0, seconds: float = 60.0) -> None:
    for step in range(int(seconds)):
        besides.observe({"edge/e": busy}, {"edge/e": planned}, since_s + step)


def test_what_a_node_does_beyond_its_plans_is_known_after_a_while() -> None:
    besides = Besides()
    besides.plans_changed(0.0)
    observed(besides, 0.93, 0.8, seconds=SETTLED_S)
    assert besides.parts == {}  # plans have just changed: what it is busy with may be of those before
    observed(besides, 0.93, 0.8, since_s=SETTLED_S)
    assert besides.parts["edge/e"] == pytest.approx(0.13, abs=0.01)
    observed(besides, 0.7, 0.8, since_s=100.0)
    assert besides.parts["edge/e"] < 0.01


def test_no_more_is_left_for_it_than_a_quarter() -> None:
    besides = Besides()
    observed(besides, 1.0, 0.1)
    assert besides.parts["edge/e"] <= MOST
    besides.forget()
    assert besides.parts == {}


def gives(total: float, least: float = 1.0, latency: float = 0.1) -> dict[Kind, float]:
    return {"total": total, "least": least, "latency": latency}


@pytest.mark.parametrize(
    ("gain", "after", "paid"),
    [
        (Gain("total", 1.2, ""), gives(11.5), True),
        (Gain("total", 1.2, ""), gives(10.5), False),
        (Gain("latency", 0.5, ""), gives(10.0, latency=0.07), True),
        (Gain("latency", 0.5, ""), gives(10.0, latency=0.09), False),
        (Gain("least", 2.0, ""), gives(10.0, least=1.2), False),
        (Gain("least", math.inf, ""), gives(10.0, least=1.2), True),
        (Gain("least", math.inf, ""), gives(10.0, least=1.0), False),
        (Gain("least", 2.0, ""), gives(10.0, least=math.inf), True),  # all have what they ask for
    ],
)
def test_change_must_have_paid_before_the_next_one(gain: Gain, after: dict[Kind, float], paid: bool) -> None:
    patience = Patience()
    patience.plans_changed(0.0, gain, gives(10.0))
    assert patience.plans_stay(KNOWN_S - 0.1, gives(99.0), step=False)  # nobody knows yet
    assert patience.plans_stay(KNOWN_S, after, step=False) is not paid
    assert not patience.plans_stay(2 * WAIT_S + KNOWN_S, after, step=False)


def test_changes_that_never_pay_get_ever_rarer_but_for_what_got_worse() -> None:
    patience, now_s, waits = Patience(), 0.0, []
    for _ in range(8):
        patience.plans_changed(now_s, Gain("total", 1.5, ""), gives(10.0))
        began_s, now_s = now_s, now_s + KNOWN_S
        while patience.plans_stay(now_s, gives(10.0), step=False):
            now_s += 0.5
        waits.append(now_s - began_s)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(MOST_WAIT_S, abs=1)
    patience.plans_changed(now_s, None, gives(10.0))
    assert not patience.plans_stay(now_s + KNOWN_S, gives(5.0), step=True)
    assert patience.steady(now_s + STEADY_S)
