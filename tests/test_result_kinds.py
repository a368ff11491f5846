"""A result kind of another package, installed for real: from outputs to people, with no other file touched."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from broker.home_assistant import discovery
from tests.aio import async_test
from tests.installed import Install, installing
from tests.sites import by_hand, new_site, noise
from tests.test_home_assistant import rendered
from tests.test_results import work
from tiercut.asyncapi.schemas import schemas_of
from tiercut.cli.watch_results import line
from tiercut.errors import BadEnvelope, InputError
from tiercut.model.bundle import Bundle
from tiercut.protocol.results import read_journey
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.results.plugin import GROUP
from tiercut.results.reading import class_in, headline_in, read_outputs, read_result, write_result
from tiercut.results.schema import result_schemas
from tiercut.results.table import KINDS, kind_of

#: Counts how many of the outputs are above 0, for models of one name.
COUNTS = """
from typing import Annotated
from msgspec import Meta, Struct
from tiercut.results.kind import ResultKind, Said

class Group(Struct, frozen=True):
    what: str
    count: Annotated[int, Meta(ge=0)]

class Counts(Said, frozen=True, kw_only=True):
    counted: Annotated[tuple[Group, ...], Meta(max_length=4)]

class CountsKind(ResultKind[Counts]):
    name = "counts"
    said = Counts

    def fits(self, bundle, variant):
        return bundle.name == "counter"

    def read(self, outputs, bundle, variant):
        many = sum(int((array > 0).sum()) for array in outputs.values())
        return Counts(counted=(Group("person", many),)), 0.75

    def headline(self, said):
        first = said.counted[0]
        return first.what, str(first.count)

    def entity(self, bundle):
        template = "{{ value_json['counted'][0]['count'] }}"
        return {"value_template": template, "state_class": "measurement", "unit_of_measurement": "persons"}

    def agree(self, one, other):
        return abs(one.counted[0].count - other.counted[0].count) <= 1

THING = CountsKind()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    with installing(GROUP, KINDS, tmp_path, monkeypatch) as install:
        yield install


@pytest.fixture
def counter(chain: Bundle) -> Bundle:
    return replace(chain, contents=replace(chain.contents, name="counter"))


def scores(bundle: Bundle, *values: float) -> dict[str, Any]:
    return {bundle.outputs[0].name: np.array([values], np.float32)}


def result(bundle: Bundle, *values: float) -> bytes:
    read = read_outputs(7, scores(bundle, *values), bundle, bundle.variants[0])
    return write_result(work(bundle.model), read, bundle.name, stages=(), finished_by="c", latency_s=0.03)


def test_outputs_become_its_fields_where_others_have_labels(counter: Bundle, install: Install) -> None:
    before = list(json.loads(result(counter, 3, 1, 0, 0)))
    install("counts", COUNTS)
    said = json.loads(result(counter, 3, 1, 0, 0))
    assert said["counted"] == [{"what": "person", "count": 2}]
    assert said["confidence"] == 0.75
    assert list(said) == [{"labels": "counted"}.get(name, name) for name in before]


def test_models_that_are_not_its_own_stay_as_they_were(chain: Bundle, install: Install) -> None:
    before = result(chain, 3, 1, 0, 0)
    install("counts", COUNTS)
    assert result(chain, 3, 1, 0, 0) == before
    assert kind_of(chain).name == "classes"


def test_its_results_are_read_again_with_their_limits(counter: Bundle, install: Install) -> None:
    install("counts", COUNTS)
    payload = result(counter, 3, 1, 0, 0)
    _, read = read_result(payload)
    assert (read.kind.name, read.headline, read.confidence) == ("counts", ("person", "2"), 0.75)
    for wrong in ([{"what": "person", "count": -1}], [{"what": "person", "count": 1}] * 5, "many"):
        with pytest.raises(BadEnvelope, match="counted"):
            read_result(json.dumps(json.loads(payload) | {"counted": wrong}).encode())


def test_its_results_have_a_line_for_people(counter: Bundle, install: Install) -> None:
    install("counts", COUNTS)
    assert line(result(counter, 3, 1, 0, 0)).split()[1:] == ["cam", "person", "2", "30.0", "ms", "c"]


def test_home_assistant_shows_its_state(counter: Bundle, install: Install) -> None:
    install("counts", COUNTS)
    cam = StreamSettings(name="cam", model="counter", sensor="noise", device="d")
    ((_, payload),) = discovery("home", cam, counter, hub="hub")
    config, heard = json.loads(payload), result(counter, 3, 1, 0, 0)
    assert rendered(config["value_template"], heard) == "2"
    assert config["unit_of_measurement"] == "persons"
    assert json.loads(rendered(config["json_attributes_template"], heard))["counted"][0]["count"] == 2


def test_two_results_agree_as_it_says(counter: Bundle, install: Install) -> None:
    install("counts", COUNTS)
    one, near, far = (read_result(result(counter, *values))[1] for values in ((1, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0)))
    assert one.agrees_with(near)
    assert not one.agrees_with(far)
    assert one.class_index is None


def test_our_kinds_agree_by_the_best_class(chain: Bundle) -> None:
    bare = replace(chain, contents=replace(chain.contents, labels=None))
    for bundle in (chain, bare):
        one, same, other = (
            read_result(result(bundle, *values))[1] for values in ((2, 1, 0, 0), (9, 0, 0, 0), (0, 3, 1, 1))
        )
        assert one.agrees_with(same)
        assert not one.agrees_with(other)
        assert (one.class_index, other.class_index) == (0, 1)
    assert not one.agrees_with(read_result(result(chain, 2, 1, 0, 0))[1])  # of another kind


def test_node_without_it_still_reads_the_frames_way(
    counter: Bundle, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("counts", COUNTS)
    payload = result(counter, 3, 1, 0, 0)
    monkeypatch.setattr(sys, "path", sys.path[1:])
    KINDS.refresh()
    assert read_journey(payload).latency_s == 0.03
    assert line(payload).split()[1:3] == ["cam", "-"]
    assert headline_in(json.loads(payload)) == ("-", "")
    assert class_in(json.loads(payload)) is None
    with pytest.raises(BadEnvelope, match=r"labels or .*outputs"):
        read_result(payload)


@async_test
async def test_frames_of_its_models_get_their_results(bundles: Path, chain: Bundle, install: Install) -> None:
    install("counts", COUNTS.replace('"counter"', f'"{chain.name}"'))
    site = new_site(bundles)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(cache_frames=4), site.device(noise(chain, frames=3))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=3)
    assert all(each["counted"][0]["what"] == "person" for each in outcomes.results)


@pytest.mark.parametrize(
    "code",
    [
        "import nothing_of_that_name",
        "THING = 5",
        COUNTS.replace('"counts"', '"other"'),
        COUNTS.replace("counted:", "labels:"),
        COUNTS.replace("counted:", "latency_ms:"),
        COUNTS.replace("THING = CountsKind()", "THING = CountsKind"),
    ],
)
def test_package_that_cannot_be_used_is_named_and_costs_nothing_else(
    counter: Bundle, install: Install, code: str
) -> None:
    before, own = result(counter, 3, 1, 0, 0), list(KINDS)
    install("counts", code)
    assert list(KINDS) == own
    assert "'counts' of other_counts 1.0 cannot be used" in KINDS.broken("counts")
    assert result(counter, 3, 1, 0, 0) == before


@pytest.mark.parametrize(
    "read",
    [
        "return 1 / 0",
        "return None",
        "exit()",
        "return Counts(counted=(Group('x', -1),)), None",
        "return Counts(counted=(Group('x', float('nan')),)), None",
    ],
)
def test_kind_that_cannot_read_outputs_costs_the_frame_and_is_named(
    counter: Bundle, install: Install, read: str
) -> None:
    install("counts", COUNTS.replace("        many = ", f"        {read}\n        many = "))
    with pytest.raises(InputError, match=r"'counts' \(other_counts 1\.0\)"):
        result(counter, 3, 1, 0, 0)


def test_kind_that_fails_to_say_the_rest_breaks_nothing(counter: Bundle, install: Install) -> None:
    broken = COUNTS
    for name in ("headline(self, said)", "entity(self, bundle)", "agree(self, one, other)"):
        broken = broken.replace(f"def {name}:", f"def {name}:\n        1 / 0")
    install("counts", broken)
    _, read = read_result(result(counter, 3, 1, 0, 0))
    assert (read.headline, read.agrees_with(read)) == (("-", ""), False)
    cam = StreamSettings(name="cam", model="counter", sensor="noise", device="d")
    ((_, payload),) = discovery("home", cam, counter, hub="hub")
    assert "person" in rendered(json.loads(payload)["value_template"], result(counter, 3, 1, 0, 0))


def test_kind_that_fails_to_say_what_fits_fits_nothing(counter: Bundle, install: Install) -> None:
    install("counts", COUNTS.replace("return bundle.name", "return 1 / 0 and bundle.name"))
    assert kind_of(counter).name == "classes"


def test_schema_of_a_result_has_the_fields_of_one_of_our_kinds(chain: Bundle, install: Install) -> None:
    install("counts", COUNTS)  # the document is of tiercut alone
    bare = replace(chain, contents=replace(chain.contents, labels=None))
    schema = {
        "components": {"schemas": result_schemas(schemas_of)},
        "$ref": "#/components/schemas/Result",
    }
    for bundle in (chain, bare):
        jsonschema.Draft7Validator(schema).validate(json.loads(result(bundle, 3, 1, 0, 0)))
    both = json.loads(result(chain, 3, 1, 0, 0)) | {"outputs": []}
    for wrong in (both, both | {"labels": [{"class": -1}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(schema).validate(wrong)
