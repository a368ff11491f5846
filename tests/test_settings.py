"""Settings: file, environment, flags; errors that name the place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import decode_wanted, encode_wanted
from tiercut.settings import MASK, from_table, load, setting, shown, to_table


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row."""

    name: str = setting("its name")
    share: float = setting("its share", default=1.0)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program."""

    rate: float | None = setting("a rate", default=None)
    count: int = setting("a count", default=3)
    on: bool = setting("a switch", default=False)
    style: Literal["text", "json"] = setting("a style", default="text")
    password: str | None = setting("a secret", default=None, secret=True)
    folder: Path = setting("a folder", default=Path())
    names: tuple[str, ...] = setting("some names", default=())
    rows: tuple[Row, ...] = setting("some rows", default=())


def read(tmp_path: Path, text: str = "", *flags: str, **environment: str) -> Program:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return load(Program, ["--settings", str(file), *flags], program="p", environment=environment)


def test_flag_wins_over_environment_over_file(tmp_path: Path) -> None:
    text = "count = 1\nrate = 1\nstyle = 'json'"
    settings = read(tmp_path, text, "--count", "3", TIERCUT_COUNT="2", TIERCUT_RATE="2.5")
    assert (settings.count, settings.rate, settings.style) == (3, 2.5, "json")


def test_tables_become_rows(tmp_path: Path) -> None:
    settings = read(tmp_path, "[[rows]]\nname = 'a'\n[[rows]]\nname = 'b'\nshare = 2")
    assert settings.rows == (Row(name="a"), Row(name="b", share=2.0))


def test_text_is_read_as_the_fields_type(tmp_path: Path) -> None:
    settings = read(tmp_path, "", "--on", "yes", "--names", "a, b", "--folder", "/x")
    assert (settings.on, settings.names, settings.folder) == (True, ("a", "b"), Path("/x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cuont = 1", "unknown setting 'cuont'"),
        ("count = 'many'", "whole number"),
        ("count = true", "whole number"),
        ("style = 'xml'", "one of text, json"),
        ("rows = 3", "list of tables"),
        ("names = 3", "a list"),
        ("names = {a = 1}", "a list"),
        ("folder = 3", "a path"),
        (f"count = {'1' * 5000}", "expected TOML"),
        ("[[rows]]\nshare = 1", "'name' of"),
        ("count =", "expected TOML"),
    ],
)
def test_wrong_file_says_what_was_expected(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(tmp_path, text)


def test_wrong_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TIERCUT_ON.*true or false"):
        read(tmp_path, TIERCUT_ON="maybe")


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        load(Program, ["--settings", str(tmp_path / "none.toml")], program="p", environment={})


def test_secrets_are_masked_when_shown() -> None:
    settings = Program(password="hunter2", rows=(Row(name="a"),))
    assert shown(settings)["password"] == MASK
    assert "hunter2" not in str(shown(settings))


def test_password_in_a_url_is_masked_when_shown() -> None:
    assert shown(Row(name="mqtt://me:hunter2@host:1883"))["name"] == f"mqtt://me:{MASK}@host:1883"


def test_shown_settings_are_plain_values() -> None:
    settings = Program(folder=Path("/x"), rows=(Row(name="a"),), names=("b",))
    assert json.loads(json.dumps(shown(settings)))["rows"] == [{"name": "a", "share": 1.0}]


STREAMS = (
    StreamSettings(name="cam", model="detector"),
    StreamSettings(
        name="cam",
        model="detector",
        sensor="pan",
        path=(Path("a"), Path("b c")),
        fps=2.5,
        timeout_s=3.0,
        retain_last=True,
    ),
    StreamSettings(
        name="walk",
        model="activity",
        sensor="fusion",
        sources=(
            SourceSettings(topic="watch/acc", format="json", json_path=("$.x, $.y",), scale=(9.81, 1.0), units=("g",)),
            SourceSettings(sensor="noise", width=8),
        ),
        codecs=("int8+zstd", "raw"),
        max_accuracy_drop=0.0,
    ),
)


@pytest.mark.parametrize("settings", STREAMS)
def test_settings_come_back_from_json_as_they_were(settings: StreamSettings) -> None:
    text = json.dumps(to_table(settings))
    assert from_table(StreamSettings, json.loads(text), where="the registry") == settings


def test_only_what_differs_from_the_defaults_is_in_the_table() -> None:
    assert to_table(StreamSettings(name="cam", model="m", fps=5, delivery="latest")) == {
        "name": "cam",
        "model": "m",
        "fps": 5,
    }


def test_null_leaves_a_setting_open_where_that_is_possible() -> None:
    assert from_table(Program, {"rate": None}, where="x").rate is None
    with pytest.raises(SettingsError, match="'count' in x: expected a whole number, got None"):
        from_table(Program, {"count": None}, where="x")


@pytest.mark.parametrize("value", [[], {}, [{}], True, "?", 10**400, None, -1, 1e400])
@pytest.mark.parametrize(
    "name", ["name", "fps", "in_flight", "sources", "channels", "scale", "path", "delivery", "x" * 900]
)
def test_whatever_stands_in_a_table_is_taken_or_refused_in_a_sentence(name: str, value: object) -> None:
    refused = ""
    try:
        from_table(StreamSettings, {"name": "cam", "model": "m", name: value}, where="the request")
    except SettingsError as error:
        refused = str(error)
    assert len(refused) < 2000


@pytest.mark.parametrize("name", ["exits", "format", "delivery", "objective", "sample_format"])
@pytest.mark.parametrize("value", [1, 0.5, -1, True, "1", None])
def test_choice_is_one_of_those_there_are(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        from_table(StreamSettings, {"name": "cam", "model": "m", name: value}, where="the request")


@pytest.mark.parametrize(
    "value", [10**400, 16**5000, "9" * 400, float("nan"), float("inf"), "nan", "1e999"], ids=range(7)
)
@pytest.mark.parametrize("name", ["rate", "count"])
def test_number_that_json_cannot_carry_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match="in x"):
        from_table(Program, {name: value}, where="x")


@pytest.mark.parametrize("value", [[16**5000], {"a": 16**5000}], ids=["list", "table"])
def test_number_that_cannot_be_written_is_refused_wherever_it_stands(value: object) -> None:
    for name in ("rate", "count", "names", "style", "rows"):
        with pytest.raises(SettingsError, match="in x"):
            from_table(Program, {name: value}, where="x")


KINDS: dict[type, dict[str, Any]] = {cls: get_type_hints(cls) for cls in (Program, StreamSettings, SourceSettings)}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["", "1", "yes", "a, b", "a//b", ".", "nan", "json", "none", "every", "mqtt", "1_0", 0, 1, 0.5])
    | st.sampled_from([10**400, 2**63, -(2**63), 2**53 + 1, 1e308, -0.0, "\ud800", "\0", "\x1b[2J", "text", "full"])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def likely(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field, most of them of its type."""
    options = [option for each in (kind, *get_args(kind)) if get_origin(each) is Literal for option in get_args(each)]
    if options:
        return st.sampled_from(options) | VALUES
    small = {
        bool: st.booleans(),
        int: st.integers(1, 99),
        float: st.floats(0.001, 0.9),
        str: st.text("ab/=", min_size=1),
    }
    inner = get_args(kind)[0] if get_args(kind) else kind
    one = small.get(inner, st.text("ab/", max_size=3))
    return (st.lists(one, max_size=3) if get_origin(kind) is tuple else one) | VALUES


def tables(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: likely(kind) for name, kind in KINDS[cls].items() if name not in {"name", "model", "rows", "sources"}
    }
    if cls is StreamSettings:
        fields["sources"] = st.lists(tables(SourceSettings), max_size=2)
    picked = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)
    return picked.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))


def choices_hold(settings: Any) -> bool:
    return all(
        getattr(settings, name) in get_args(kind)
        for name, kind in KINDS[type(settings)].items()
        if get_origin(kind) is Literal
    )


@tries(max_examples=400, deadline=None)
@given(tables(StreamSettings))
def test_stream_that_is_taken_comes_back_from_json_as_it_was(table: dict[str, Any]) -> None:
    try:
        taken = from_table(StreamSettings, {"name": "cam", "model": "m"} | table, where="the request")
    except SettingsError:
        return
    assert decode_wanted(encode_wanted(taken), "cam") == taken
    assert choices_hold(taken)
    assert all(map(choices_hold, taken.sources))


@tries(max_examples=300, deadline=None)
@given(tables(Program))
def test_settings_that_are_taken_come_back_from_json_as_they_were(table: dict[str, Any]) -> None:
    try:
        taken = from_table(Program, table, where="the request")
    except SettingsError:
        return
    text = json.dumps(to_table(taken), allow_nan=False)
    assert from_table(Program, json.loads(text), where="the registry") == taken
    assert choices_hold(taken)
