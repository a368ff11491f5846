"""Why frames are dropped: the counters that nodes keep and what people read."""

from __future__ import annotations

#: Why frames are dropped: the counters' names and what each means.
DROP_REASONS = {
    "past_deadline": "its deadline passed before it was done",
    "too_late": "what is left to be done takes longer than there is time until its deadline",
    "newer_frame": "a newer frame of its stream came while it waited",
    "unchanged": "it differs too little from the last frame of its stream that was not skipped",
    "unknown_model": "the node has no bundle of that identity",
    "bad_cuts": "its plan does not fit the model",
    "unknown_variant": "the model has no variant of that name",
    "misrouted": "it came to a node that its plan does not name, or behind that node's segment",
    "bad_tensors": "its tensors are not those of its cut",
    "segment_failed": "the model's segment raised an error",
    "unreachable": "the next node is unreachable and this one may not run the rest",
    "refused": "the broker does not take its message",
    "cloud_away": "its result is for the cloud, whose broker did not take it in time",
    "fault": "a fault of tiercut's, with a traceback in the log",
    "beyond_rate": "its sensor gives more frames than the site has room for",
    "overtaken": "its outcome came after others of later frames were published, as they could wait no longer",
    "lost": "no result and no reason came back in time",
}

#: Those that a deadline gives.
LATE_REASONS = frozenset({"past_deadline", "too_late"})
