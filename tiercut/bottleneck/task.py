"""What a bottleneck learns: to rebuild its tensor, and to leave the model's answers as they are. It needs no labels."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch.nn import functional

from tiercut.bottleneck.network import Bottleneck
from tiercut.exits.batches import Features
from tiercut.exits.training_loop import Places, Task
from tiercut.model.bundle import Bundle
from tiercut.model.variants import OutputSpec
from tiercut.plan import FULL
from tiercut.results.reading import Reading, read_outputs
from tiercut.torch_view.graph import TorchChain

#: Weight of the difference of answers beside that of tensors. Shao & Zhang (2020) train on the answers alone, Matsubara
#: et al. (2022, "supervised compression") on tensors first: together they need no second stage.
ANSWERS = 1.0
#: Held-back frames that are looked at after each epoch.
GLANCED = 500


class DistillTask(Task):
    """A bottleneck between the frozen parts of a model.

    Args:
        network: The bottleneck.
        bundle: The model.
        cut: Where it is.
        train: What the model makes of the frames: the tensor of the cut, then its outputs.
        held_back: The same of frames that are only looked at.
    """

    def __init__(self, network: Bottleneck, bundle: Bundle, cut: int, train: Features, held_back: Features) -> None:
        self.network = self.bottleneck = network
        self.count = len(train)
        self._train, self._held_back = train, held_back
        self._tail = TorchChain(bundle, cut, bundle.end).requires_grad_(False).eval()
        self._bundle = bundle
        self._outputs = bundle.outputs
        self._probable = {
            out.name
            for out in bundle.outputs
            if any(node.op_type == "Softmax" and out.name in node.output for node in bundle.graph.nodes)
        }

    def loss(self, places: Places) -> torch.Tensor:
        """Squared difference of the tensors in parts of their variance, and the difference of the model's answers."""
        tensor, *answers = (torch.from_numpy(array) for array in self._train.batch(places))
        rebuilt = self.bottleneck(tensor)
        far = _parts_of_variance(rebuilt, tensor)
        for out, mine, right in zip(self._outputs, self._answers(rebuilt), answers, strict=True):
            far = far + ANSWERS * self._apart(out, mine, right)
        return far

    def accuracy(self) -> Mapping[str, float]:
        """The part of held-back frames whose result is the same as without the bottleneck."""
        self.bottleneck.eval()
        tensor, *right = self._held_back.batch(range(min(GLANCED, len(self._held_back))))
        with torch.no_grad():
            mine = [answer.numpy() for answer in self._answers(self.bottleneck(torch.from_numpy(tensor)))]
        pairs = zip(self._readings(mine), self._readings(right), strict=True)
        return {"agreement": statistics.fmean(one.agrees_with(other) for one, other in pairs)}

    def _readings(self, outputs: Sequence[NDArray[Any]]) -> Iterator[Reading]:
        """What each frame's outputs say, of outputs ``(frames, *rest)``."""
        whole = self._bundle.variant(FULL)
        for i in range(len(outputs[0])):
            one = {out.name: array[i : i + 1] for out, array in zip(self._outputs, outputs, strict=True)}
            yield read_outputs(i, one, self._bundle, whole)

    def _answers(self, rebuilt: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made: torch.Tensor | tuple[torch.Tensor, ...] = self._tail(rebuilt)
        return made if isinstance(made, tuple) else (made,)

    def _apart(self, out: OutputSpec, mine: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Kullback-Leibler divergence of scores, the squared difference of what are none."""
        if out.name in self._probable:
            tiny = torch.finfo(mine.dtype).tiny
            return functional.kl_div(mine.clamp_min(tiny).log(), right, reduction="batchmean")
        if out.scores == "softmax":
            mine, right = torch.log_softmax(mine, -1), torch.log_softmax(right, -1)
            return functional.kl_div(mine, right, reduction="batchmean", log_target=True)
        if not mine.is_floating_point():
            return mine.new_zeros((), dtype=torch.float32)
        return _parts_of_variance(mine, right)


def _parts_of_variance(mine: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(mine, right) / right.var(correction=0).clamp_min(torch.finfo(right.dtype).tiny)
