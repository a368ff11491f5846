"""What each codec costs at each cut of one model, as measured: ``codecs.json`` beside ``bundle.json``.

`tiercut codecs measure` writes it (`codec_measure`), planners read it (`codec_choice`). It is no part of the bundle's
identity: it may be measured again, on other data, without a new model.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiercut.declared import read_format
from tiercut.errors import BadEnvelope, BundleError, SettingsError
from tiercut.files import write_whole
from tiercut.model.bundle import Bundle
from tiercut.profiling.codec_table import CodecTable, bad_table

FORMAT = "tiercut-codecs/1"
FILE = "codecs.json"
#: 10,000 cuts with 40 codecs take 60 MB; more is no table.
MAX_FILE_BYTES = 64_000_000


def load_table(bundle: Bundle) -> CodecTable | None:
    """The table of a bundle; ``None`` where there is none.

    Raises:
        BundleError: it is damaged, of another version, or of another model.
    """
    path = bundle.folder / FILE
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise bad_table(f"at most {MAX_FILE_BYTES} bytes", f"{path.stat().st_size}", path)
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise bad_table("a file that can be read", (error.strerror or str(error)).lower(), path) from error
    except (ValueError, RecursionError) as error:
        raise bad_table("JSON", str(error)[:80], path) from error
    try:
        table = from_document(document)
    except BundleError as error:
        raise bad_table(error.expected, error.came, path) from error
    _check_belongs(table, bundle)
    return table


def write_table(bundle: Bundle, table: CodecTable) -> Path:
    """Write a bundle's table; a reader meets the old or the new file, never half of one.

    Raises:
        BundleError: it is of another model, or the folder cannot be written.
    """
    _check_belongs(table, bundle)
    path = bundle.folder / FILE
    try:
        write_whole(
            path, json.dumps(to_document(table), indent=1, ensure_ascii=False).encode(), what="the codec table "
        )
    except SettingsError as error:
        raise BundleError(
            error.what,
            expected="a bundle in a folder that can be written",
            came=error.came,
            fix="copy the bundle to such a folder",
        ) from error
    return path


def to_document(table: CodecTable) -> dict[str, Any]:
    """The table as JSON has it."""
    return {"format": FORMAT} | asdict(table)


def from_document(document: object) -> CodecTable:
    """The table that a document says; fields that it does not know are ignored.

    Raises:
        BundleError: a field is missing, of another type or out of bounds.
    """
    try:
        return read_format(CodecTable, document, FORMAT)
    except BadEnvelope as error:
        raise bad_table(error.expected, error.came) from error


def _check_belongs(table: CodecTable, bundle: Bundle) -> None:
    if table.model != bundle.model:
        raise BundleError(
            f"the codec table in '{bundle.folder}' belongs to another model",
            expected=f"'{bundle.name}' ({bundle.model[:12]})",
            came=f"'{table.model_name[:80]}' ({table.model[:12]})",
            fix="run 'tiercut codecs measure' again",
        )
    beyond = [row.cut for row in table.rows if row.cut >= bundle.end]
    if beyond:
        raise bad_table(f"cuts below {bundle.end}", str(beyond[0]), bundle.folder / FILE)
