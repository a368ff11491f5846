"""Result kinds of other packages: objects behind an entry point of the group ``tiercut.results``, named as the kind."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tiercut.errors import InputError
from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.plugins import ANYTHING
from tiercut.results.kind import Outputs, ResultKind, Said

log = logging.getLogger(__name__)

GROUP = "tiercut.results"


class PluginKind(ResultKind[Said]):
    """Keeps what a kind of another package does within `ResultKind`: it can spoil results of its own models at most.

    Args:
        name: Name of its entry point.
        kind: What that gave.
        package: Whose it is, for messages.
        taken: Fields that results have already.

    Raises:
        TypeError: it is no kind, has another name, or takes a field that every result has.
    """

    def __init__(self, name: str, kind: Any, package: str, *, taken: Collection[str]) -> None:
        if not isinstance(kind, ResultKind) or kind.name != name:
            raise TypeError(f"expected a ResultKind whose name is that of its entry point, got {kind!r:.80}")
        if not kind.fields or any(each in taken for each in kind.fields):
            raise TypeError(f"expected fields that no other result has, got {kind.fields}")
        self.name = name
        self.said = kind.said
        self.package = package
        self._kind = kind
        self._warned = False

    def fits(self, bundle: Bundle, variant: Variant) -> bool:
        """What it says; it does not while it fails to say."""
        try:
            return bool(self._kind.fits(bundle, variant))
        except ANYTHING as error:
            self._warn(error)
            return False

    def read(self, outputs: Outputs, bundle: Bundle, variant: Variant) -> tuple[Said, float | None]:
        """What it says; ``InputError`` where it fails, or says what it has not declared: the frame has no result."""
        try:
            said, confidence = self._kind.read(outputs, bundle, variant)
            return msgspec.convert(msgspec.to_builtins(said), self.said), _part(confidence)
        except ANYTHING as error:
            raise InputError(
                f"the result kind '{self.name}' ({self.package}) failed",
                expected=f"it to read the outputs of '{bundle.name}' as it has declared",
                came=_words(error),
                fix="correct the plugin",
            ) from error

    def headline(self, said: Said) -> tuple[str, str]:
        """What it says; a dash while it fails to."""
        try:
            what, figure = self._kind.headline(said)
            return str(what), str(figure)
        except ANYTHING as error:
            self._warn(error)
            return "-", ""

    def entity(self, bundle: Bundle) -> Mapping[str, Any]:
        """What it says; the whole first field while it fails to."""
        try:
            return dict(self._kind.entity(bundle))
        except ANYTHING as error:
            self._warn(error)
            return {"value_template": f"{{{{ value_json['{self.fields[0]}'] | string | truncate(255) }}}}"}

    def agree(self, one: Said, other: Said) -> bool:
        """What it says; not while it fails to."""
        try:
            return bool(self._kind.agree(one, other))
        except ANYTHING as error:
            self._warn(error)
            return False

    def class_of(self, said: Said) -> int | None:
        """What it says; none while it fails to."""
        try:
            found = self._kind.class_of(said)
            return None if found is None else int(found)
        except ANYTHING as error:
            self._warn(error)
            return None

    def _warn(self, error: BaseException) -> None:
        """Say once that it fails: it may do so with every frame."""
        if not self._warned:
            self._warned = True
            log.warning(
                "a result kind of another package fails",
                extra={"kind": self.name, "package": self.package, "reason": _words(error)},
            )


def _part(confidence: float | None) -> float | None:
    return None if confidence is None else min(1.0, max(0.0, float(confidence)))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
