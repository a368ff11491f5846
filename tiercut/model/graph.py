"""The graph of a bundle: what is alive at each cut, what each segment costs, and the segment as a model of its own.

Nothing here runs a model or reads a weight: weights stay where they are, as references into the bundle's data file.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import structs

from tiercut.errors import BundleError
from tiercut.model.cuts import CutPoint, TensorSpec, dominated_cuts
from tiercut.model.macs import node_macs
from tiercut.model.onnx_file import OnnxModel, OnnxNode, OnnxTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Integers that count or index (shapes, axes, masks) are no parameters, and neither are scalars.
_NO_PARAMETERS = {"bool", "int16", "int32", "int64", "uint16", "uint32", "uint64"}


def only_outputs(model: OnnxModel, outputs: Sequence[str]) -> OnnxModel:
    """The part of a model that some of its outputs depend on; nodes stay in their order.

    Raises:
        BundleError: it has no such output.
    """
    found = {value.name: value for value in model.outputs}
    for name in outputs:
        if name not in found:
            raise _not_canonical(f"no output '{name}'")
    if len(outputs) == len(found):
        return model
    needed = set(outputs)
    nodes: list[OnnxNode] = []
    for node in reversed(model.nodes):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    inner = [value for value in model.values if value.name in needed and value.name not in found]
    kept = sorted(found.keys() & needed - set(outputs))
    return structs.replace(
        model,
        nodes=tuple(reversed(nodes)),
        inputs=tuple(value for value in model.inputs if value.name in needed),
        outputs=tuple(found[name] for name in outputs),
        weights=tuple(weight for weight in model.weights if weight.name in needed),
        values=(*inner, *(found[name] for name in kept)),
    )


class Graph:
    """A canonical ONNX graph, ready to be cut: nodes in order, every tensor of fixed shape and type.

    Args:
        model: Read from ``model.onnx``.

    Raises:
        BundleError: the graph is not canonical, so no bundle of ours.
    """

    def __init__(self, model: OnnxModel) -> None:
        self._head = model.head
        self.nodes = model.nodes
        self.weights = {weight.name: weight for weight in model.weights}
        self.inputs = tuple(value.name for value in model.inputs)
        self.outputs = tuple(value.name for value in model.outputs)
        self._values = {value.name: value for value in (*model.inputs, *model.values, *model.outputs)}
        self._specs: dict[str, TensorSpec] = {}
        #: The last cut at which a tensor is still needed after it; no entry: nobody ever needs it.
        self._last: dict[str, int] = {}
        self._trace()
        self._alive = self._sweep()

    @property
    def end(self) -> int:
        """The last cut point: as many as there are nodes."""
        return len(self.nodes)

    def spec(self, name: str) -> TensorSpec:
        """Shape and type of a tensor or a weight."""
        if name not in self._specs:
            self._specs[name] = _spec(name, self.weights.get(name) or self._values.get(name))
        return self._specs[name]

    def alive(self, k: int) -> tuple[str, ...]:
        """The tensors that exist at cut ``k`` and are needed after it, in the order in which they came to be."""
        return self._alive[k]

    def cuts(self) -> tuple[CutPoint, ...]:
        """All cut points, from 0 to the end."""
        alive = [tuple(map(self.spec, self.alive(k))) for k in range(self.end + 1)]
        macs = [0, *itertools.accumulate(node_macs(node, lambda name: self.spec(name).shape) for node in self.nodes)]
        parameters = self._parameters()
        by_bytes = dominated_cuts([sum(t.bytes for t in tensors) for tensors in alive], macs)
        by_elements = dominated_cuts([sum(t.elements for t in tensors) for tensors in alive], macs)
        return tuple(
            CutPoint(
                index=k,
                after=self.nodes[k - 1].name if k else None,
                tensors=alive[k],
                macs=macs[k],
                parameters=parameters[k],
                dominated=by_bytes[k] and by_elements[k],
            )
            for k in range(self.end + 1)
        )

    def extract(self, a: int, b: int) -> OnnxModel:
        """The nodes between two cuts as a model; its weights stay references into the bundle's data file.

        Its inputs are the tensors alive at ``a`` that these nodes need, its outputs those alive at ``b`` that they
        make: a tensor that only passes by is in neither.
        """
        nodes = self.nodes[a:b]
        made = {name for node in nodes for name in node.output if name}
        needed = {name for node in nodes for name in node.input}
        return OnnxModel(
            head=self._head,
            name=f"[{a}, {b})",
            nodes=nodes,
            weights=tuple(self.weights[name] for name in self._weights_between(a, b)),
            inputs=tuple(self._values[name] for name in self.alive(a) if name in needed),
            outputs=tuple(self._values[name] for name in self.alive(b) if name in made),
        )

    def weight_bytes(self, a: int, b: int) -> int:
        """Size of all weights that the nodes between two cuts use."""
        return sum(self.spec(name).bytes for name in self._weights_between(a, b))

    def activation_bytes(self, a: int, b: int) -> int:
        """Most bytes of tensors alive at once while the nodes between two cuts run."""
        during = (sum(self.spec(name).bytes for name in {*self.alive(k), *self.alive(k + 1)}) for k in range(a, b))
        return max(during, default=0)

    def _weights_between(self, a: int, b: int) -> list[str]:
        used = dict.fromkeys(name for node in self.nodes[a:b] for name in node.input)
        return [name for name in used if name in self.weights]

    def _parameters(self) -> list[int]:
        """Parameters before each cut, shared ones where they are first used."""
        seen: set[str] = set()
        counts = [0]
        for node in self.nodes:
            new = [name for name in dict.fromkeys(node.input) if name in self.weights and name not in seen]
            seen.update(new)
            specs = [self.spec(name) for name in new]
            counts.append(counts[-1] + sum(s.elements for s in specs if s.shape and s.dtype not in _NO_PARAMETERS))
        return counts

    def _trace(self) -> None:
        """Find where each tensor ends, and check the order on the way."""
        made = set(self.inputs)
        for i, node in enumerate(self.nodes):
            for name in node.input:
                if name in made:
                    self._last[name] = i
                elif name and name not in self.weights:
                    raise _not_canonical(f"node '{node.name}' using '{name}' before anything makes it")
            made.update(name for name in node.output if name)
        for name in self.outputs:
            if name not in made:
                raise _not_canonical(f"no node making the output '{name}'")
            self._last[name] = self.end

    def _sweep(self) -> list[tuple[str, ...]]:
        """The tensors alive at each cut."""
        alive = dict.fromkeys(name for name in self.inputs if name in self._last)
        sweep = [tuple(alive)]
        for i, node in enumerate(self.nodes):
            alive.update((name, None) for name in node.output if name in self._last)
            for name in {name for name in node.input if self._last.get(name) == i}:
                alive.pop(name, None)
            sweep.append(tuple(alive))
        sweep[-1] = self.outputs
        return sweep


def _spec(name: str, known: OnnxTensor | None) -> TensorSpec:
    if known is None or known.dtype is None or known.shape is None:
        raise _not_canonical(f"no fixed shape and type for '{name}'")
    return TensorSpec(name, known.shape, known.dtype)


def _not_canonical(came: str) -> BundleError:
    return BundleError(
        "the graph cannot be cut",
        expected="nodes in topological order and a fixed shape and type for every tensor",
        came=came,
        fix="export the model again with 'tiercut export'",
    )
