"""The table of settings in docs/streams.md is that of the code; ``python tests/test_streams_page.py`` writes it."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import STREAM_STATES
from tiercut.settings import from_table

PAGE = Path(__file__).parent.parent / "docs" / "streams.md"
BEGIN, END = "<!-- settings, as tests/test_streams_page.py writes them -->\n", "<!-- end of settings -->\n"


def kind_of(kind: Any) -> str:
    """What a setting is, in a word or two."""
    choices = [each for each in (kind, *get_args(kind)) if get_origin(each) is Literal]
    if choices:
        return ", ".join(f"`{choice}`" for choice in get_args(choices[0]))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return "tables `[[sources]]`" if dataclasses.is_dataclass(inner) else f"list of {kind_of(inner)}s"
    plain = next((each for each in (get_args(kind) or (kind,)) if each is not type(None)), kind)
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path"}
    return names[plain]


def rows(cls: type, *, but: type | None = None) -> list[str]:
    hidden = {field.name for field in dataclasses.fields(but)} if but else set()
    hints = get_type_hints(cls)
    return [
        f"| `{field.name}` | {kind_of(hints[field.name])} | {default_of(field)} | {field.metadata['help']} |"
        for field in dataclasses.fields(cls)
        if field.name not in hidden
    ]


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "**needed**"
    return "" if field.default in (None, "", ()) else f"`{json.dumps(field.default)}`"


def settings_tables() -> str:
    head = "| setting | form | default | meaning |\n|---|---|---|---|\n"
    return (
        f"\nThe stream:\n\n{head}" + "\n".join(rows(StreamSettings, but=SourceSettings)) + "\n"
        f"\nIts sensor:\n\n{head}" + "\n".join(rows(SourceSettings)) + "\n\n"
    )


def test_page_has_the_settings_that_the_code_has() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == settings_tables()


def test_every_stream_on_the_page_can_be_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    bodies = re.findall(r"'(\{.*?\})'", PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 2
    assert len(bodies) >= 2
    for block in blocks:
        from_table(StreamSettings, tomllib.loads(block), where=block)
    for body in bodies:
        from_table(StreamSettings, {"name": "garden"} | json.loads(body), where=body)


def test_page_explains_every_state() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [state for state in STREAM_STATES if f"| `{state}` |" not in text] == []


def write() -> None:
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    PAGE.write_text(before + settings_tables() + rest, encoding="utf-8")


if __name__ == "__main__":
    write()
