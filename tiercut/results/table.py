"""The table of result kinds. A new one is a file and a row here, or an entry point of the group ``tiercut.results``.

Kinds of other packages are asked first whether a model is theirs, then ours in their order; the last one takes all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import structs

from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.plan import FULL
from tiercut.plugins import Table
from tiercut.protocol.results import Result
from tiercut.results.classes import ClassesKind
from tiercut.results.kind import ResultKind
from tiercut.results.plugin import GROUP, PluginKind
from tiercut.results.values import ValuesKind

_OWN: tuple[ResultKind[Any], ...] = (ClassesKind(), ValuesKind())

_TAKEN = {each.encode_name for each in structs.fields(Result)} | {name for own in _OWN for name in own.fields}

#: Every kind by its name.
KINDS: Table[ResultKind[Any]] = Table(GROUP, {each.name: each for each in _OWN}, partial(PluginKind, taken=_TAKEN))


def kind_of(bundle: Bundle, variant: Variant | None = None) -> ResultKind[Any]:
    """The kind of a model's results, at the end of a way through it or of the whole."""
    way = variant or bundle.variant(FULL)
    return next(each for each in (*KINDS.added(), *_OWN) if each.fits(bundle, way))


def kind_in(fields: object) -> ResultKind[Any] | None:
    """The kind of the result that a parsed JSON text is; ``None`` where it is of none that is known here."""
    if not isinstance(fields, dict):
        return None
    return next((each for each in KINDS.values() if fields.get(each.fields[0]) is not None), None)
