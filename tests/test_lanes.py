"""Waiting frames: order within a stream, turns between streams."""

from tiercut.pipeline.queues import Lanes


def test_latest_frame_replaces_those_that_wait() -> None:
    lanes: Lanes[int] = Lanes(int)
    assert lanes.put("s", 1, "latest") == []
    assert lanes.put("s", 2, "latest") == [1]
    assert lanes.take() == ("s", 2)


def test_every_frame_is_kept_in_order() -> None:
    lanes: Lanes[int] = Lanes(int)
    for number in range(3):
        assert lanes.put("s", number, "every") == []
    taken = []
    while ready := lanes.take():
        taken.append(ready[1])
        lanes.done("s")
    assert taken == [0, 1, 2]


def test_lane_gives_out_one_frame_at_a_time() -> None:
    lanes: Lanes[int] = Lanes(int)
    lanes.put("s", 1, "every")
    lanes.put("s", 2, "every")
    assert lanes.take() == ("s", 1)
    assert lanes.take() is None
    lanes.done("s")
    assert lanes.take() == ("s", 2)


def test_streams_take_turns() -> None:
    lanes: Lanes[int] = Lanes(int)
    for number in range(2):
        lanes.put("busy", number, "every")
    lanes.put("quiet", 9, "every")
    order = []
    while ready := lanes.take():
        order.append(ready[0])
        lanes.done(ready[0])
    assert order == ["busy", "quiet", "busy"]


def test_frames_put_back_find_their_place() -> None:
    lanes: Lanes[int] = Lanes(int)
    lanes.put("s", 3, "every")
    lanes.put_back("s", [0])
    lanes.put_back("s", [2, 1])
    assert lanes.drain() == [0, 1, 2, 3]


def test_drained_lanes_hand_back_what_waited() -> None:
    lanes: Lanes[int] = Lanes(int)
    lanes.put("a", 1, "every")
    lanes.put("b", 2, "every")
    assert sorted(lanes.drain()) == [1, 2]
    assert len(lanes) == 0


def lanes_of_pairs() -> Lanes[tuple[int, str]]:
    """Frames with a number and a mark that does not name them."""
    return Lanes(lambda item: item[0])


def test_frame_sent_again_takes_the_place_of_the_one_that_waits() -> None:
    lanes = lanes_of_pairs()
    for number in range(3):
        assert lanes.put("s", (number, "first"), "every") == []
    assert lanes.put("s", (1, "again"), "every") == [(1, "first")]
    assert lanes.drain() == [(0, "first"), (1, "again"), (2, "first")]


def test_frame_of_another_stream_is_not_replaced() -> None:
    lanes = lanes_of_pairs()
    assert lanes.put("a", (1, "first"), "every") == []
    assert lanes.put("b", (1, "again"), "every") == []
    assert len(lanes) == 2


def test_frame_put_back_gives_way_to_its_newer_copy() -> None:
    lanes = lanes_of_pairs()
    lanes.put("s", (1, "again"), "every")
    assert lanes.put_back("s", [(0, "first"), (1, "first")]) == [(1, "first")]
    assert lanes.drain() == [(0, "first"), (1, "again")]
