"""The graph of a bundle: what is alive at each cut, what each segment costs, and the segment as a model of its own.

Nothing here runs a model or reads a weight: weights stay where they are, as references into the bundle's data file.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import onnx

from tiercut.errors import BundleError
from tiercut.model.cuts import ITEM_BYTES, CutPoint, TensorSpec, dominated_cuts
from tiercut.model.macs import node_macs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: Integers that count or index (shapes, axes, masks) are no parameters, and neither are scalars.
_NO_PARAMETERS = {"bool", "int16", "int32", "int64", "uint16", "uint32", "uint64"}


def dtype_name(element_type: int) -> str | None:
    """Name in numpy of an ONNX element type, ``None`` where a tensor between two nodes may not have it."""
    if element_type not in onnx.TensorProto.DataType.values() or element_type == onnx.TensorProto.UNDEFINED:
        return None
    name = str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    return name if name in ITEM_BYTES else None


def fixed_spec(value: onnx.ValueInfoProto) -> TensorSpec | None:
    """The tensor that a value describes, ``None`` when its type or one of its dimensions is unknown."""
    kind = value.type.tensor_type
    dtype = dtype_name(kind.elem_type)
    if dtype is None or not kind.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in kind.shape.dim):
        return None
    return TensorSpec(value.name, tuple(dim.dim_value for dim in kind.shape.dim), dtype)


def topological_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, each right before the first that needs it.

    Depth first from the outputs, so that a branch is finished before the next begins and few tensors are alive at
    once. Nodes without effect on an output are omitted.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    order: list[onnx.NodeProto] = []
    seen: set[int] = set()
    for output in graph.output:
        stack = [(node, iter(node.input)) for node in _unseen(producer, [output.name], seen)]
        while stack:
            node, names = stack[-1]
            found = next(_unseen(producer, names, seen), None)
            if found is None:
                order.append(node)
                stack.pop()
            else:
                stack.append((found, iter(found.input)))
    return order


def _unseen(producer: Mapping[str, onnx.NodeProto], names: Iterable[str], seen: set[int]) -> Iterator[onnx.NodeProto]:
    """The producers of some tensors, each only once per ``seen``."""
    for name in names:
        node = producer.get(name)
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node


def only_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that some of its outputs depend on; nodes stay in their order, and nothing is copied twice.

    Raises:
        BundleError: it has no such output.
    """
    graph = model.graph
    found = {value.name: value for value in graph.output}
    for name in outputs:
        if name not in found:
            raise _not_canonical(f"no output '{name}'")
    if len(outputs) == len(found):
        return model
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, producer_name="tiercut")
    needed = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    part.graph.name = graph.name
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(value for value in graph.input if value.name in needed)
    part.graph.output.extend(found[name] for name in outputs)
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    part.graph.value_info.extend(
        value for value in graph.value_info if value.name in needed and value.name not in found
    )
    kept = {value.name for value in graph.output} & needed - set(outputs)
    part.graph.value_info.extend(found[name] for name in sorted(kept))
    return part


class Graph:
    """A canonical ONNX graph, ready to be cut: nodes in order, every tensor of fixed shape and type.

    Args:
        model: Parsed ``model.onnx``; its external weights need not be loaded.

    Raises:
        BundleError: the graph is not canonical, so no bundle of ours.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        graph = model.graph
        self.nodes = tuple(graph.node)
        self.weights: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        self._values = {v.name: v for v in itertools.chain(graph.input, graph.value_info, graph.output)}
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
            weight = self.weights.get(name)
            self._specs[name] = _weight_spec(weight) if weight is not None else self._value_spec(name)
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

    def extract(self, a: int, b: int) -> onnx.ModelProto:
        """The nodes between two cuts as a model; its weights stay references into the bundle's data file.

        Its inputs are the tensors alive at ``a`` that these nodes need, its outputs those alive at ``b`` that they
        make: a tensor that only passes by is in neither.
        """
        nodes = self.nodes[a:b]
        made = {name for node in nodes for name in node.output if name}
        needed = {name for node in nodes for name in node.input}
        part = onnx.ModelProto(
            ir_version=self._model.ir_version, opset_import=self._model.opset_import, producer_name="tiercut"
        )
        part.graph.name = f"[{a}, {b})"
        part.graph.node.extend(nodes)
        part.graph.initializer.extend(self.weights[name] for name in self._weights_between(a, b))
        part.graph.input.extend(self._values[name] for name in self.alive(a) if name in needed)
        part.graph.output.extend(self._values[name] for name in self.alive(b) if name in made)
        return part

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

    def _value_spec(self, name: str) -> TensorSpec:
        value = self._values.get(name)
        spec = fixed_spec(value) if value is not None else None
        if spec is None:
            raise _not_canonical(f"no fixed shape and type for '{name}'")
        return spec


def _weight_spec(weight: onnx.TensorProto) -> TensorSpec:
    dtype = dtype_name(weight.data_type)
    if dtype is None:
        raise _not_canonical(f"the weight '{weight.name}' of type {weight.data_type}")
    return TensorSpec(weight.name, tuple(weight.dims), dtype)


def _not_canonical(came: str) -> BundleError:
    return BundleError(
        "the graph cannot be cut",
        expected="nodes in topological order and a fixed shape and type for every tensor",
        came=came,
        fix="export the model again with 'tiercut export'",
    )
