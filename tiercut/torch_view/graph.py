"""The nodes of a bundle between two cuts as a torch module that can be trained, for any number of frames at once.

A bundle's shapes are fixed to a batch of one, down to the constants of its reshapes. So every frame goes through the
nodes as that batch of one, and `torch.vmap` carries all frames along on a dimension which no node can see: this is
right by construction for every graph, and as fast as a batch dimension, since torch puts the two together again
inside its convolutions and matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from tiercut.authoring.verify import TOLERANCE, random_example
from tiercut.model.bundle import Bundle
from tiercut.model.cuts import TensorSpec
from tiercut.plan import FULL
from tiercut.torch_view.call import Call, attributes_of, untranslatable
from tiercut.torch_view.operators import OPERATORS

#: Weights of no more elements are also kept as numbers, for operators that ask for one.
_FEW = 16
#: Weights of BatchNormalization that are statistics.
_STATISTICS = (3, 4)
STANDARD = {"", "ai.onnx"}
_FRAME_OPERATORS = {"Transpose", "Cast", "Sub", "Div"}


class TorchChain(torch.nn.Module):
    """The nodes ``[a, b)`` of a bundle in torch; its weights are parameters, statistics and single numbers buffers.

    It takes and gives tensors ``(frames, *rest)`` for what the bundle has as ``(1, *rest)``: those alive at the two
    cuts, one as it is, several as arguments and as a tuple. The nodes that normalise a frame are not trained.

    Args:
        bundle: The bundle.
        a: Cut whose tensors it takes.
        b: Cut whose tensors it gives.
        variant: Whose cuts these are.

    Raises:
        CutError: there is no such segment or variant.
        ExportError: torch has no operator for a node, or would not compute the same as ONNX Runtime.
    """

    def __init__(self, bundle: Bundle, a: int, b: int, variant: str = FULL) -> None:
        super().__init__()
        bundle.check_segment(a, b, variant)
        chain = bundle.variant(variant)
        graph = bundle.graph_of(bundle.same_segment(b, variant))
        last = graph.end if b == chain.end else b
        part = onnx.ModelProto.FromString(graph.extract(last if a == b else a, last).encode())
        nodes = part.graph.node
        self.takes, self.gives = chain.cuts[a].tensors, chain.cuts[b].tensors
        self.title = f"{bundle.name}[{a}, {b})"
        self._places: dict[str, str] = {}
        self._numbers: dict[str, NDArray[Any]] = {}
        _check_known(nodes, self.title)
        self._load(part.graph, bundle, at_frame=a == 0)
        version = max((item.version for item in part.opset_import if item.domain in STANDARD), default=0)
        self._nodes = [(node, self._call(node, version)) for node in nodes]
        _check_batch((*self.takes, *self.gives), self.title)
        self._verify(bundle, a, b, variant)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run it on one or more frames."""
        made = self.tensors([spec.name for spec in self.gives], *inputs)
        return made[0] if len(made) == 1 else made

    def tensors(self, names: Sequence[str], *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run it and give any of its tensors, by the names that they have in the bundle."""

        def one(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            known = dict(zip((spec.name for spec in self.takes), (value[None] for value in values), strict=True))
            self._run(known)
            return tuple(known[name][0] for name in names)

        results: tuple[torch.Tensor, ...] = torch.vmap(one)(*inputs)
        return results

    def weights(self) -> dict[str, NDArray[Any]]:
        """The parameters as they are now, by the names that they have in the bundle."""
        parameters = dict(self.named_parameters())
        return {
            name: parameters[place].detach().cpu().numpy()
            for name, place in self._places.items()
            if place in parameters
        }

    def _run(self, known: dict[str, torch.Tensor]) -> None:
        for node, call in self._nodes:
            call.tensors = [self._value(name, known) if name else None for name in node.input]
            made = OPERATORS[node.op_type](call)
            call.tensors = ()
            known.update(zip(node.output, made if isinstance(made, tuple) else (made,), strict=False))

    def _value(self, name: str, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
        tensor: torch.Tensor = known[name] if name in known else getattr(self, self._places[name])
        return tensor

    def _load(self, graph: onnx.GraphProto, bundle: Bundle, *, at_frame: bool) -> None:
        """Make parameters and buffers of the weights."""
        fixed = _not_trained(graph.node, frame=at_frame and bundle.frame.kind == "image")
        for weight in graph.initializer:
            array = np.array(onnx.numpy_helper.to_array(weight, str(bundle.folder)))
            tensor = torch.from_numpy(array)
            self._places[weight.name] = place = f"weight{len(self._places)}"
            trained = tensor.is_floating_point() and tensor.dim() > 0 and weight.name not in fixed
            if trained:
                self.register_parameter(place, torch.nn.Parameter(tensor))
            else:
                self.register_buffer(place, tensor)
            if not trained or array.size <= _FEW:
                self._numbers[weight.name] = array.copy()

    def _call(self, node: onnx.NodeProto, version: int) -> Call:
        return Call(
            op=node.op_type,
            name=node.name,
            attributes=attributes_of(node),
            fixed=[self._numbers.get(name) for name in node.input],
            outputs=max(i + 1 for i, name in enumerate(node.output) if name),
            version=version,
        )

    def _verify(self, bundle: Bundle, a: int, b: int, variant: str) -> None:
        """Two frames of noise at once give what ONNX Runtime gives for each of them alone."""
        frames = [random_example((2, *spec.shape[1:]), spec.dtype) for spec in bundle.variant(variant).cuts[0].tensors]
        head, body = bundle.segment(0, a, variant=variant), bundle.segment(a, b, variant=variant)
        taken = [head.run({s.name: f[i : i + 1] for s, f in zip(head.takes, frames, strict=True)}) for i in range(2)]
        wanted = [body.run(tensors) for tensors in taken]
        inputs = [torch.from_numpy(np.concatenate([t[spec.name] for t in taken])) for spec in self.takes]
        names = [spec.name for spec in self.gives]
        with torch.no_grad():
            together = self.tensors(names, *inputs)
            alone = self.tensors(names, *(tensor[:1] for tensor in inputs))
        for spec, both, first in zip(self.gives, together, alone, strict=True):
            _compare(self.title, spec, first.numpy(), wanted[0][spec.name])
            _compare(self.title, spec, both.numpy(), np.concatenate([w[spec.name] for w in wanted]))


def _not_trained(nodes: Sequence[onnx.NodeProto], *, frame: bool) -> set[str]:
    """Weights that stay as they are: statistics, and those of the nodes that normalise a frame."""
    fixed = {node.input[i] for node in nodes if node.op_type == "BatchNormalization" for i in _STATISTICS}
    for node in nodes if frame else ():
        if node.op_type not in _FRAME_OPERATORS or not node.name.startswith("frame/"):
            break
        fixed.update(node.input)
    return fixed


def _check_known(nodes: Iterable[onnx.NodeProto], title: str) -> None:
    for node in nodes:
        if node.domain not in STANDARD or node.op_type not in OPERATORS:
            raise untranslatable(title, "operators of convolutional and dense networks", f"'{node.op_type}'")


def _check_batch(specs: Iterable[TensorSpec], title: str) -> None:
    """What goes in and comes out has a first dimension that stands for the frames."""
    for spec in specs:
        if spec.shape[:1] != (1,):
            raise untranslatable(title, "tensors whose first dimension is the batch, 1", f"'{spec.name}' {spec}")


def _compare(title: str, spec: TensorSpec, got: NDArray[Any], wanted: NDArray[Any]) -> None:
    same = got.shape == wanted.shape and got.dtype == wanted.dtype
    difference, size = np.inf, 1.0
    if same:
        mine, theirs = got.astype(np.float64), wanted.astype(np.float64)
        size = float(np.max(np.abs(theirs), where=np.isfinite(theirs), initial=1.0))
        with np.errstate(invalid="ignore"):
            apart = np.where(mine == theirs, 0.0, np.abs(mine - theirs))  # the same infinity is no difference
        difference = float(np.max(apart, initial=0.0))
    # float16 keeps 11 bits: a few in the last place are no fault of ours
    tolerance = max(TOLERANCE, 8 * float(np.finfo(spec.dtype).eps) if spec.dtype.startswith("float") else 0.0)
    if not difference <= tolerance * size:
        came = f"{difference:.2g} away" if same else f"{got.dtype.name}{list(got.shape)}"
        raise untranslatable(f"{title} in torch", f"'{spec.name}' as ONNX Runtime gives it, to {tolerance:.2g}", came)
