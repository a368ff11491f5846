"""No topic of one row of the table may be taken for another row's."""

import itertools

import pytest
from paho.mqtt.client import topic_matches_sub

from tiercut.protocol.topics import TOPICS, Topic

NAMES = {"site": "home", "tier": "edge", "node": "e", "stream": "cam", "model": "5a" * 32}


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(TOPICS, 2)))
def test_subscription_to_one_row_gets_nothing_of_another(one: Topic, other: Topic) -> None:
    assert not topic_matches_sub(one.filter(), other.of(**NAMES))
