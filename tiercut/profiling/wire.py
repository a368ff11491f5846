"""A node's profile on the bus: the same JSON as on disk, within limits."""

from __future__ import annotations

import json

from tiercut.declared import load_json
from tiercut.errors import SettingsError, refuse
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import from_document, to_document

#: A model of 1,000 cuts with two codecs at each takes 300 kB.
MAX_PROFILE_BYTES = 1024 * 1024


def encode_profile(profile: Profile) -> bytes:
    """The JSON of a node's profile topic."""
    return json.dumps(to_document(profile), separators=(",", ":"), ensure_ascii=False).encode()


def decode_profile(data: bytes) -> Profile:
    """The profile in such a JSON; ``BadEnvelope`` for anything else."""
    try:
        return from_document(load_json(data, limit=MAX_PROFILE_BYTES))
    except SettingsError as error:
        raise refuse("bad_profile", expected=error.expected, came=error.came) from error
