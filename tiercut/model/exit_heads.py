"""Early exits in a graph: which of its nodes are the trunk, which are a head, and at which cut a head begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiercut.errors import ExportError
from tiercut.model.graph import Graph, only_outputs
from tiercut.model.macs import node_macs
from tiercut.model.onnx_file import OnnxModel, OnnxNode
from tiercut.model.variants import ExitSpec, OutputSpec


def find_exits(model: OnnxModel, main: Sequence[str], exits: Mapping[str, str]) -> tuple[ExitSpec, ...]:
    """Describe the early exits of a canonical model.

    Args:
        model: All outputs and nodes: the trunk first, then one head after the other.
        main: Names of the outputs of the whole network.
        exits: Name of the exit → name of its output.

    Returns:
        The exits from the first cut to the last, without accuracy and with temperature 1.

    Raises:
        ExportError: a head does not begin at a cut with one tensor, or shares nodes with another head.
    """
    trunk = Graph(only_outputs(model, main))
    taken = {node.name: "the trunk" for node in trunk.nodes}
    found: list[ExitSpec] = []
    for name, output in exits.items():
        whole = Graph(only_outputs(model, [output]))
        head = [node for node in whole.nodes if taken.get(node.name) != "the trunk"]
        for node in head:
            if node.name in taken:
                raise _bad_head(name, "nodes of its own", f"'{node.name}', which belongs to {taken[node.name]} too")
        if not head:
            raise _bad_head(name, "nodes of its own", f"the output '{output}', which is the trunk's")
        taken |= {node.name: f"the exit '{name}'" for node in head}
        cut = _cut_of(name, trunk, head)
        if any(each.cut == cut for each in found):
            raise _bad_head(name, "a cut of its own", f"cut {cut}, where another exit begins")
        found.append(_spec(name, cut, whole, head, output))
    return tuple(sorted(found, key=lambda each: each.cut))


def single_tensor_cuts(graph: Graph) -> tuple[int, ...]:
    """The cuts between input and end at which one tensor is alive: where a head, or a learned codec, may be put."""
    return tuple(k for k in range(1, graph.end) if len(graph.alive(k)) == 1)


def _cut_of(name: str, trunk: Graph, head: list[OnnxNode]) -> int:
    """The first cut at which nothing is alive but the tensor that a head takes."""
    made = {output for node in head for output in node.output}
    inputs = {each for node in head for each in node.input if each and each not in made and each not in trunk.weights}
    known = {output for node in trunk.nodes for output in node.output} | set(trunk.inputs)
    takes = sorted(inputs & known)
    cut = next((k for k in single_tensor_cuts(trunk) if list(trunk.alive(k)) == takes), None)
    if cut is None:
        k = next((k for k in range(trunk.end + 1) if set(takes) <= set(trunk.alive(k))), 0)
        came = f"{', '.join(takes) or 'nothing of the trunk'}, alive at cut {k} with {', '.join(trunk.alive(k))}"
        raise _bad_head(name, "the one tensor that is alive at a cut of the trunk", came)
    return cut


def _spec(name: str, cut: int, whole: Graph, head: list[OnnxNode], output: str) -> ExitSpec:
    tensor = whole.spec(output)
    weights = {each for node in head for each in node.input if each in whole.weights}
    return ExitSpec(
        name=name,
        cut=cut,
        output=OutputSpec(output, tensor.shape, tensor.dtype, "softmax"),
        after=head[-1].name,
        macs=sum(node_macs(node, lambda each: whole.spec(each).shape) for node in head),
        parameters=sum(whole.spec(each).elements for each in weights if whole.spec(each).dtype.startswith("float")),
    )


def _bad_head(name: str, expected: str, came: str) -> ExportError:
    return ExportError(
        f"the exit '{name}' does not begin where the trunk can be left",
        expected=expected,
        came=came,
        fix="attach it behind a block, where no skip connection passes by ('tiercut inspect' shows the tensors)",
    )
