"""Waiting frames: order within a stream, turns between streams."""

import math

from tiercut.pipeline.queues import Queue, StreamQueues

S, A, B, BUSY, QUIET = (Queue(name) for name in ("s", "a", "b", "busy", "quiet"))


def test_latest_frame_replaces_those_that_wait() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    assert queues.put(S, 1, "latest") == []
    assert queues.put(S, 2, "latest") == [1]
    assert queues.take() == (S, 2)


def test_every_frame_is_kept_in_order() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    for number in range(3):
        assert queues.put(S, number, "every") == []
    taken = []
    while ready := queues.take():
        taken.append(ready[1])
        queues.done(S)
    assert taken == [0, 1, 2]


def test_queue_gives_out_one_frame_at_a_time() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put(S, 1, "every")
    queues.put(S, 2, "every")
    assert queues.take() == (S, 1)
    assert queues.take() is None
    queues.done(S)
    assert queues.take() == (S, 2)


def test_streams_take_turns() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    for number in range(2):
        queues.put(BUSY, number, "every")
    queues.put(QUIET, 9, "every")
    order = []
    while ready := queues.take():
        order.append(ready[0])
        queues.done(ready[0])
    assert order == [BUSY, QUIET, BUSY]


def test_stream_takes_one_turn_for_all_plans_of_its_own() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    lanes = [Queue("mixed", lane) for lane in range(3)]
    for lane in lanes:
        queues.put(lane, 0, "latest")
    queues.put(QUIET, 0, "latest")
    order = []
    for number in range(1, 13):  # each gets a new frame as soon as it has given one out
        ready = queues.take()
        assert ready is not None
        order.append(ready[0])
        queues.done(ready[0])
        queues.put(ready[0], number, "latest")
    assert [each.stream for each in order] == ["mixed", "quiet"] * 6
    assert [each for each in order if each != QUIET] == lanes * 2


def test_busy_plan_of_a_stream_leaves_its_turn_to_others_of_it() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    one, other = Queue("mixed", 0), Queue("mixed", 1)
    for number in range(2):
        queues.put(one, number, "every")
    queues.put(other, 5, "every")
    assert queues.take() == (one, 0)
    assert queues.take() == (other, 5)
    assert queues.take() is None
    queues.done(one)
    assert queues.take() == (one, 1)


def test_frames_put_back_find_their_place() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put(S, 3, "every")
    queues.put_back(S, [0])
    queues.put_back(S, [2, 1])
    assert queues.drain() == [0, 1, 2, 3]


def test_drained_queues_hand_back_what_waited() -> None:
    queues: StreamQueues[int] = StreamQueues(int)
    queues.put(A, 1, "every")
    queues.put(B, 2, "every")
    assert sorted(queues.drain()) == [1, 2]
    assert len(queues) == 0


def queues_of_pairs() -> StreamQueues[tuple[int, str]]:
    """Frames with a number and a mark that does not name them."""
    return StreamQueues(lambda item: item[0])


def test_frame_sent_again_takes_the_place_of_the_one_that_waits() -> None:
    queues = queues_of_pairs()
    for number in range(3):
        assert queues.put(S, (number, "first"), "every") == []
    assert queues.put(S, (1, "again"), "every") == [(1, "first")]
    assert queues.drain() == [(0, "first"), (1, "again"), (2, "first")]


def test_frame_of_another_stream_is_not_replaced() -> None:
    queues = queues_of_pairs()
    assert queues.put(A, (1, "first"), "every") == []
    assert queues.put(B, (1, "again"), "every") == []
    assert len(queues) == 2


def test_frame_put_back_gives_way_to_its_newer_copy() -> None:
    queues = queues_of_pairs()
    queues.put(S, (1, "again"), "every")
    assert queues.put_back(S, [(0, "first"), (1, "first")]) == [(1, "first")]
    assert queues.drain() == [(0, "first"), (1, "again")]


def due_queues() -> StreamQueues[tuple[int, float]]:
    """Frames with a number, and when work on them must begin."""
    return StreamQueues(lambda item: item[0], lambda item: item[1])


def test_frame_that_is_due_first_goes_first() -> None:
    queues = due_queues()
    queues.put(A, (0, 9.0), "latest")
    queues.put(B, (0, 7.0), "latest")
    queues.put(Queue("mixed", 0), (0, math.inf), "latest")
    queues.put(Queue("mixed", 1), (1, 8.0), "latest")
    order = [ready[0] for _ in range(4) if (ready := queues.take()) is not None]
    assert order == [B, Queue("mixed", 1), A, Queue("mixed", 0)]
    assert queues.take() is None


def test_frames_of_one_queue_stay_in_order_whichever_is_due() -> None:
    queues = due_queues()
    queues.put(A, (0, 9.0), "every")
    queues.put(A, (1, 1.0), "every")
    ready = queues.take()
    assert ready == (A, (0, 9.0))
    assert queues.take() is None  # its next one is not handed out before this is done


def test_stream_without_a_deadline_is_passed_over_by_each_other_once() -> None:
    queues = due_queues()
    busy = [Queue(f"camera {index}") for index in range(3)]
    queues.put(QUIET, (0, math.inf), "every")
    for index, queue in enumerate(busy):
        queues.put(queue, (0, float(index)), "latest")
    order = []
    for number in range(1, 8):
        ready = queues.take()
        assert ready is not None
        order.append(ready[0])
        queues.done(ready[0])
        queues.put(ready[0], (number, 10.0 + number), "latest")
    assert QUIET in order[: len(busy) + 2]


def test_plan_of_a_stream_is_passed_over_by_each_other_once() -> None:
    queues = due_queues()
    late, due, beside = Queue("mixed", 0), Queue("mixed", 1), Queue("mixed", 2)
    for queue in (late, due, beside):
        queues.put(queue, (0, math.inf if queue == late else 1.0), "every")
    queues.put(QUIET, (0, math.inf), "every")
    order = []
    for number in range(1, 30):
        ready = queues.take()
        assert ready is not None
        order.append(ready[0])
        queues.done(ready[0])
        queues.put(ready[0], (number, math.inf if ready[0] in {late, QUIET} else 1.0 + number), "every")
    assert late in order[:8]
    assert order.count(late) >= 3
