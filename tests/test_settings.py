"""Settings: file, environment, flags; errors that name the place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tiercut.errors import SettingsError
from tiercut.settings import MASK, from_table, load, setting, shown, to_table
from tiercut.stream_settings import SourceSettings, StreamSettings


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
