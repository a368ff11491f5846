"""Prints the document: ``python -m tiercut.asyncapi > docs/asyncapi.yaml``."""

from __future__ import annotations

import sys

import yaml

from tiercut.asyncapi.document import document


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice: anchors are hard to read."""

    def ignore_aliases(self, data: object) -> bool:
        """No anchors."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml() -> str:
    """The document as YAML."""
    made: str = yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    command = "python -m tiercut.asyncapi > docs/asyncapi.yaml"
    return f"# Made by '{command}' from tiercut/protocol/topics.py: do not edit.\n{made}"


if __name__ == "__main__":
    sys.stdout.write(as_yaml())
