"""Waiting frames: order within a stream, turns between streams."""

from tiercut.pipeline.queues import StreamQueues


def test_latest_frame_replaces_those_that_wait() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    assert queues.put("s", 1, "latest") == []
    assert queues.put("s", 2, "latest") == [1]
    assert queues.take() == ("s", 2)


def test_every_frame_is_kept_in_order() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    for number in range(3):
        assert queues.put("s", number, "every") == []
    taken = []
    while ready := queues.take():
        taken.append(ready[1])
        queues.done("s")
    assert taken == [0, 1, 2]


def test_queue_gives_out_one_frame_at_a_time() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put("s", 1, "every")
    queues.put("s", 2, "every")
    assert queues.take() == ("s", 1)
    assert queues.take() is None
    queues.done("s")
    assert queues.take() == ("s", 2)


def test_streams_take_turns() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    for number in range(2):
        queues.put("busy", number, "every")
    queues.put("quiet", 9, "every")
    order = []
    while ready := queues.take():
        order.append(ready[0])
        queues.done(ready[0])
    assert order == ["busy", "quiet", "busy"]


def test_frames_put_back_find_their_place() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put("s", 3, "every")
    queues.put_back("s", [0])
    queues.put_back("s", [2, 1])
    assert queues.drain() == [0, 1, 2, 3]


def test_drained_queues_hand_back_what_waited() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put("a", 1, "every")
    queues.put("b", 2, "every")
    assert sorted(queues.drain()) == [1, 2]
    assert len(queues) == 0


def queues_of_pairs() -> StreamQueues[tuple[int, str]]:
    """Frames with a number and a mark that does not name them."""
    return StreamQueues(lambda item: item[0])


def test_frame_sent_again_takes_the_place_of_the_one_that_waits() -> None:
    queues = queues_of_pairs()
    for number in range(3):
        assert queues.put("s", (number, "first"), "every") == []
    assert queues.put("s", (1, "again"), "every") == [(1, "first")]
    assert queues.drain() == [(0, "first"), (1, "again"), (2, "first")]


def test_frame_of_another_stream_is_not_replaced() -> None:
    queues = queues_of_pairs()
    assert queues.put("a", (1, "first"), "every") == []
    assert queues.put("b", (1, "again"), "every") == []
    assert len(queues) == 2


def test_frame_put_back_gives_way_to_its_newer_copy() -> None:
    queues = queues_of_pairs()
    queues.put("s", (1, "again"), "every")
    assert queues.put_back("s", [(0, "first"), (1, "first")]) == [(1, "first")]
    assert queues.drain() == [(0, "first"), (1, "again")]
