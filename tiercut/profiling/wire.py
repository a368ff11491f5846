"""A node's profile on the bus: the same JSON as on disk, within limits."""

from __future__ import annotations

import json

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
    if len(data) > MAX_PROFILE_BYTES:
        raise refuse("envelope_too_big", expected=f"at most {MAX_PROFILE_BYTES} bytes of JSON", came=len(data))
    try:
        return from_document(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise refuse("not_json", expected="a profile as JSON", came=str(error)) from error
    except SettingsError as error:
        raise refuse("bad_profile", expected=error.expected, came=error.came) from error
