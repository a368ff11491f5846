"""The pages name what is there: the order of packages, files, modules, links."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/adr/*.md")])
PATH = re.compile(r"`((?:tiercut|iot_node|edge_node|cloud_node|broker|tests|bench|examples|deploy|docs)/[\w./-]+)`")
MODULE = re.compile(r"`((?:tiercut|iot_node|edge_node|cloud_node|broker)(?:\.\w+)+)`|python -m ([a-z_]+(?:\.\w+)*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def levels_of_the_contracts() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    packages, programs = (each for each in contracts if each["type"] == "layers")
    levels = [{f"tiercut.{name}" for name in layer.split(" | ")} for layer in packages["layers"]]
    between = [set(layer.split(" | ")) for layer in programs["layers"]]
    above, below = levels.index(between[0]), levels.index(between[-1])
    assert below == above + 1
    return [*levels[:below], *between[1:-1], *levels[below:]]


def levels_of_the_page() -> list[set[str]]:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    levels: list[set[str]] = []
    for line in page.split("```layers\n")[1].split("```")[0].splitlines():
        beside, name = re.match(r"(· )?(\S+)  ", line).groups()  # type: ignore[union-attr]
        if not beside:
            levels.append(set())
        levels[-1].add(name.replace("/", "."))
    return levels


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_architecture_draws_the_order_that_lint_checks() -> None:
    assert levels_of_the_page() == levels_of_the_contracts()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_on_a_page_exist(page: Path) -> None:
    named = [path for path in PATH.findall(prose(page)) if not path.startswith("tiercut/v1")]
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [name for name in (a or b for a, b in MODULE.findall(text)) if not name.endswith(".v1")]  # types of events
    assert [name for name in named if not there(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_on_a_page_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        to = (page.parent / target).resolve() if target else page
        if "://" not in link and (not to.exists() or (anchor and anchor not in anchors(to))):
            dead.append(link)
    assert dead == []


def there(name: str) -> bool:
    """A module, or a name within one; groups of entry points have the names of packages of ours."""
    parent, _, attribute = name.rpartition(".")
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is no package, or is not there
        found = False
    return found or hasattr(importlib.import_module(parent), attribute)
