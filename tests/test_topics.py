"""The table of topics: made and read the same way."""

import pytest

from tiercut.errors import BadEnvelope
from tiercut.protocol.topics import RESULT, TOPICS, WORK, Topic

NAMES = {"site": "home", "tier": "edge", "node": "edge-1", "stream": "door.cam_2", "model": "5a" * 32}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.pattern)
def test_topic_reads_back_its_names(topic: Topic) -> None:
    names = topic.parse(topic.of(**NAMES))
    assert names
    assert names == {key: NAMES[key] for key in names}


def test_filter_leaves_a_wildcard_for_what_is_not_given() -> None:
    assert RESULT.filter(site="home") == "tiercut/v1/home/stream/+/result"


@pytest.mark.parametrize(
    "topic", ["tiercut/v1/home/edge/e/works", "tiercut/v1/home/edge/+/work", "x/tiercut/v1/home/edge/e/work", ""]
)
def test_other_topics_are_not_read(topic: str) -> None:
    assert WORK.parse(topic) is None


def test_message_must_not_speak_for_another_than_its_topic() -> None:
    topic = RESULT.of(site="home", stream="cam")
    assert RESULT.check(topic, stream="cam") == {"site": "home", "stream": "cam"}
    for where, said in ((topic, "other"), ("x/y", "cam")):
        with pytest.raises(BadEnvelope, match="a message of"):
            RESULT.check(where, stream=said)
