"""Home Assistant finds the results of a stream by itself: the retained configuration of one sensor per stream.

Written against Home Assistant 2026.2 (https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, checked
2026-11-21). Templates are Jinja's; they read the JSON of the topics as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

from tiercut import __version__
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import LAST, RESULT, STATUS, STREAM_STATUS
from tiercut.results.table import KINDS, kind_of

#: Topics and payloads, to be published retained.
Messages = list[tuple[str, bytes]]

PREFIX = "homeassistant"
#: A stream with a rate but no results becomes unknown after this many frames, and after this many seconds at least.
EXPIRE_FRAMES, MIN_EXPIRE_S = 10, 30

#: What a person may want to see, or to use in an automation, beside what the model has made of the frame.
_SHOWN = ("captured_at", "latency_ms", "finished_by", "exit", "cached", "fallback")
_HUB_ONLINE = "{{ 'online' if value_json is defined and value_json['state'] == 'online' else 'offline' }}"
_STREAM_RUNS = "{{ 'online' if value_json is defined and value_json['state'] == 'running' else 'offline' }}"


def discovery(site: str, settings: StreamSettings, bundle: Bundle, *, hub: str, prefix: str = PREFIX) -> Messages:
    """What to publish, retained, so that a stream's results show as an entity of Home Assistant.

    Args:
        site: Site of the stream.
        settings: The stream. With ``retain_last`` the entity follows the retained last result, so that it has a state
            at once after a restart of Home Assistant, and a new one once a second at most.
        bundle: Its model, whose kind of result says how the state is read.
        hub: Node id of the hub, whose status is half of the availability.
        prefix: Home Assistant's discovery prefix.
    """
    stream = settings.name
    results = (LAST if settings.retain_last else RESULT).of(site=site, stream=stream)
    identity = f"tiercut/{site}/{stream}"
    config: dict[str, Any] = {
        "name": None,  # the device has no other entity: it is named like the device
        "unique_id": identity,
        "default_entity_id": f"sensor.{_slug(site)}_{_slug(stream)}",
        "state_topic": results,
        **kind_of(bundle).entity(bundle),
        "json_attributes_topic": results,
        "json_attributes_template": _attributes(),
        "availability": [
            {"topic": STATUS.of(site=site, tier="hub", node=hub), "value_template": _HUB_ONLINE},
            {"topic": STREAM_STATUS.of(site=site, stream=stream), "value_template": _STREAM_RUNS},
        ],
        "availability_mode": "all",
        **_expiry(settings),
        "device": {
            "identifiers": [identity],
            "name": f"{site} {stream}",
            "manufacturer": "tiercut",
            "model": bundle.name,
            "model_id": bundle.model[:12],
            "sw_version": __version__,
        },
        "origin": {"name": "tiercut", "sw_version": __version__},
    }
    payload = json.dumps(config, separators=(",", ":"), allow_nan=False).encode()
    return [(topic(site, stream, prefix=prefix), payload)]


def topic(site: str, stream: str, *, prefix: str = PREFIX) -> str:
    """The discovery topic of a stream; the filter of all for ``+``."""
    return f"{prefix}/sensor/{_level(f'tiercut_{site}')}/{'+' if stream == '+' else _level(stream)}/config"


def _attributes() -> str:
    """The template of the entity's attributes: of all kinds, so that one's fields are shown when a model changes."""
    shown = ["confidence", *(name for kind in KINDS.values() for name in kind.fields), *_SHOWN]
    return f"{{{{ dict(value_json.items() | selectattr('0', 'in', {shown})) | tojson }}}}"


def _expiry(settings: StreamSettings) -> dict[str, int]:
    """When a state is too old; never for streams whose results come when something happens."""
    if settings.fps is None or settings.frames is not None or settings.from_bus:
        return {}
    skipped_s = settings.skip_most_s if settings.skip_below else 0.0
    wait_s = EXPIRE_FRAMES / settings.fps + settings.timeout_s + skipped_s
    return {"expire_after": math.ceil(max(MIN_EXPIRE_S, wait_s))}


def _level(name: str) -> str:
    """A name as a level of a discovery topic, where letters, digits, ``_`` and ``-`` may stand; no two are alike."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
