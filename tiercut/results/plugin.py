"""Result kinds of other packages: objects behind an entry point of the group ``tiercut.results``, named as the kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tiercut.errors import InputError
from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.plugins import ANYTHING, Guard
from tiercut.results.kind import STATE_CHARACTERS, Outputs, ResultKind, Said

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
        self._kind = kind
        self._guard = Guard(GROUP, name, package)

    def fits(self, bundle: Bundle, variant: Variant) -> bool:
        """What it says; none where it fails to."""
        return self._guard.ask(lambda: bool(self._kind.fits(bundle, variant)), otherwise=False)

    def read(self, outputs: Outputs, bundle: Bundle, variant: Variant) -> tuple[Said, float | None]:
        """What it says; ``InputError`` where it fails, or says what it has not declared: the frame has no result."""
        try:
            said, confidence = self._kind.read(outputs, bundle, variant)
            sure = None if confidence is None else min(1.0, max(0.0, float(confidence)))
            return msgspec.json.decode(msgspec.json.encode(said), type=self.said), sure  # no NaN, within its limits
        except ANYTHING as error:
            raise InputError(
                f"the result kind '{self.name}' ({self._guard.package}) failed",
                expected=f"it to read the outputs of '{bundle.name}' as it has declared",
                came=self._guard.note(error),
                fix="correct the plugin",
            ) from error

    def headline(self, said: Said) -> tuple[str, str]:
        """What it says; a dash where it fails to."""
        return self._guard.ask(lambda: _texts(self._kind.headline(said)), ("-", ""))

    def entity(self, bundle: Bundle) -> Mapping[str, Any]:
        """What it says; the whole first field where it fails to."""
        shown = {"value_template": f"{{{{ value_json['{self.fields[0]}'] | string | truncate({STATE_CHARACTERS}) }}}}"}
        return self._guard.ask(lambda: dict(self._kind.entity(bundle)), shown)

    def agree(self, one: Said, other: Said) -> bool:
        """What it says; not where it fails to."""
        return self._guard.ask(lambda: bool(self._kind.agree(one, other)), otherwise=False)

    def class_of(self, said: Said) -> int | None:
        """What it says; none where it fails to."""
        return self._guard.ask(lambda: self._kind.class_of(said), None)


def _texts(headline: tuple[str, str]) -> tuple[str, str]:
    what, figure = headline
    return str(what), str(figure)
