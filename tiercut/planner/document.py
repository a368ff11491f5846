"""The border: a planning problem, form 1 or 2, read from what JSON gave, and answers in the same form.

``docs/planning.md`` defines both. Inside, problems and answers are classes (`problem`, `answer`). `document_forms` says
the fields, `document_parts` checks them; `site.document` reads a problem of many streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiercut.planner import best
from tiercut.planner.answer import Answer
from tiercut.planner.answer_form import form_of
from tiercut.planner.document_forms import (
    FORM_1,
    FORM_2,
    OF_SITES,
    NodeForm,
    NodeForm2,
    ProblemForm,
    ProblemForm2,
    VariantForm,
    VariantForm2,
    tables,
)
from tiercut.planner.document_parts import READER, codecs_of, links_of, nodes_of, objective_of, variants_of
from tiercut.planner.problem import RAW, Problem
from tiercut.planner.reading import names_of
from tiercut.planner.way_back import way_back_to


def solve(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Find the best plan of a planning problem, form 1 or 2, as JSON gave it.

    Returns:
        The answer of that form. Where no plan satisfies the constraints, ``feasible`` is false, ``violates`` says what
        the plan that comes nearest violates: given up are the deadline first, then the accuracy, then ``min_noise``,
        then ``min_first_cut``. Memory is never given up: there is then no plan.

    Raises:
        SettingsError: the problem is not valid; the message names the field.
    """
    return written(best.solve(read_problem(problem)))


def written(answer: Answer) -> dict[str, Any]:
    """An answer as values that JSON knows."""
    document: dict[str, Any] = msgspec.to_builtins(form_of(answer))
    return document


def read_problem(document: Mapping[str, Any]) -> Problem:
    """Read a problem.

    Raises:
        SettingsError: a field is missing, of the wrong type or out of range, or the parts contradict each other.
    """
    newer = isinstance(document, Mapping) and document.get("format") == FORM_2
    if newer and "streams" in document:
        READER.refuse("streams", "a problem of one stream; 'tiercut plan' and solve_site() take many", "streams")
    if isinstance(document, Mapping):
        if document.get("format") not in (FORM_1, FORM_2):
            READER.refuse("format", f"one of {FORM_1}, {FORM_2}", document.get("format"))
        for name in sorted(document.keys() & OF_SITES) if newer else ():
            READER.refuse(
                name, "'streams' beside it: only a site of many streams has it", name, "add 'streams', or omit it"
            )
        kinds = (ProblemForm2, VariantForm2, NodeForm2) if newer else (ProblemForm, VariantForm, NodeForm)
        for where, table, kind in tables(document, *kinds):
            READER.no_misspelling(table, names_of(kind), where)
    form = READER.read(document, ProblemForm2) if newer else READER.read(document, ProblemForm)
    for index, node in enumerate(form.nodes):
        if isinstance(node, NodeForm2) and node.batch is not None:
            fix = "add 'streams', or omit it"
            READER.refuse(
                f"nodes[{index}].batch", "'streams' beside it: one stream alone fills no batch", node.batch, fix
            )
    variants = tuple(variants_of(form.model, "model", set()))
    nodes = tuple(nodes_of(form.nodes, variants))
    devices = [node for node in nodes if node.tier == "device"]
    if len(devices) != 1:
        READER.refuse("nodes", "exactly one with tier 'device'", [node.id for node in devices])
    links = dict(links_of(form.links, nodes))
    destination = form.destination if isinstance(form, ProblemForm2) else None
    return Problem(
        name=form.model.name,
        variants=variants,
        device=devices[0],
        edges=tuple(node for node in nodes if node.tier == "edge"),
        clouds=tuple(node for node in nodes if node.tier == "cloud"),
        links=links,
        codecs=(RAW, *codecs_of(form.codecs, document.get("codecs", ()))),
        objective=objective_of(form.objective),
        way_back=None if destination is None else way_back_to(destination, nodes, links),
        **msgspec.structs.asdict(form.constraints),
    )
