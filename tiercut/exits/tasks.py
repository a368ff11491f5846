"""The two ways to train exits: together with the trunk on labels, or alone on what the trunk says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tiercut.exits.batches import Features, Inputs
from tiercut.exits.classifier_output import final_output, gives_probabilities
from tiercut.exits.training_loop import Places, Task
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL
from tiercut.torch_view.graph import TorchChain

#: Held-back frames that accuracy is measured on after each epoch; all of them are at the end.
_GLANCED = 2000
_GLANCE_BATCH = 250

Heads = Mapping[str, tuple[int, torch.nn.Sequential]]
Labels = NDArray[np.int64]


class Branching(torch.nn.Module):
    """A trunk with a head at each of some cuts."""

    def __init__(self, bundle: Bundle, heads: Heads) -> None:
        super().__init__()
        self.trunk = TorchChain(bundle, 0, bundle.end)
        self.heads = torch.nn.ModuleDict({name: head for name, (_, head) in heads.items()})
        self._tensors = [bundle.cuts[cut].tensors[0].name for cut, _ in heads.values()]
        self._output = final_output(bundle).name

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of each exit, and the final output behind them."""
        *features, final = self.trunk.tensors([*self._tensors, self._output], frames)
        return (*(head(feature) for head, feature in zip(self.heads.values(), features, strict=True)), final)


class JointTask(Task):
    """Trunk and heads on labels.

    Args:
        bundle: Where the trunk begins from.
        heads: Name → cut and untrained head.
        weights: Of each exit's loss, and of the full model's.
        train: Frames and labels to learn from.
        test: Held-back ones.
    """

    def __init__(
        self,
        bundle: Bundle,
        heads: Heads,
        weights: Sequence[float],
        train: tuple[Inputs, Labels],
        test: tuple[Inputs, Labels],
    ) -> None:
        self.network = self.branching = Branching(bundle, heads)
        self.count = len(train[0])
        self._names = (*heads, FULL)
        self._weights = tuple(weights)
        self._train, self._test = train, test
        self._probable = gives_probabilities(bundle)

    def loss(self, places: Places) -> torch.Tensor:
        """BranchyNet, equation 2."""
        inputs, labels = self._train
        right = torch.from_numpy(labels[places])
        logits = self._logits(inputs.batch(places))
        losses = [w * functional.cross_entropy(y, right) for w, y in zip(self._weights, logits, strict=True) if w]
        return torch.stack(losses).sum()

    def accuracy(self) -> Mapping[str, float]:
        """On some of the held-back frames."""
        inputs, labels = self._test
        return _glance(self.network, self._names, len(inputs), labels, self._answer)

    def _answer(self, places: Places) -> Sequence[torch.Tensor]:
        return self._logits(self._test[0].batch(places))

    def _logits(self, frames: NDArray[Any]) -> tuple[torch.Tensor, ...]:
        *early, final = self.network(torch.from_numpy(frames))
        if self._probable:
            final = torch.log(final.clamp_min(torch.finfo(final.dtype).tiny))
        return (*early, final.flatten(1))


class FrozenTask(Task):
    """Heads alone, on tensors that the trunk made once; they learn its final output, and no labels.

    Args:
        heads: Name → cut and untrained head.
        weights: Of each exit's loss.
        train: What the trunk made of the frames to learn from: a tensor per exit, then the final output.
        test: The same of held-back frames, and the right class of each.
        probable: The final output holds probabilities, not logits.
    """

    def __init__(
        self, heads: Heads, weights: Sequence[float], train: Features, test: tuple[Features, Labels], *, probable: bool
    ) -> None:
        self._heads = {name: head for name, (_, head) in heads.items()}
        self.network = torch.nn.ModuleDict(self._heads)
        self.count = len(train)
        self._weights = tuple(weights[: len(heads)])
        self._train, self._test, self._probable = train, test, probable

    def loss(self, places: Places) -> torch.Tensor:
        """Cross entropy to the final output's probabilities: distillation at temperature 1."""
        *logits, final = self._logits(self._train.batch(places))
        teacher = final if self._probable else torch.softmax(final, -1)
        losses = [w * functional.cross_entropy(y, teacher) for w, y in zip(self._weights, logits, strict=True) if w]
        return torch.stack(losses).sum()

    def accuracy(self) -> Mapping[str, float]:
        """On some of the held-back frames."""
        features, labels = self._test
        return _glance(self.network, (*self._heads, FULL), len(features), labels, self._answer)

    def _answer(self, places: Places) -> Sequence[torch.Tensor]:
        return self._logits(self._test[0].batch(places))

    def _logits(self, tensors: Sequence[NDArray[Any]]) -> list[torch.Tensor]:
        *features, final = (torch.from_numpy(tensor) for tensor in tensors)
        logits = [head(feature) for head, feature in zip(self._heads.values(), features, strict=True)]
        return [*logits, final.flatten(1).float()]


def _glance(
    network: torch.nn.Module,
    names: Sequence[str],
    count: int,
    labels: Labels,
    answer: Callable[[Places], Sequence[torch.Tensor]],
) -> Mapping[str, float]:
    """Accuracy on the first held-back frames."""
    right, count = np.zeros(len(names)), min(_GLANCED, count)
    network.eval()
    with torch.no_grad():
        for start in range(0, count, _GLANCE_BATCH):
            places = np.arange(start, min(count, start + _GLANCE_BATCH))
            right += [(logits.argmax(-1).numpy() == labels[places]).sum() for logits in answer(places)]
    return dict(zip(names, (right / max(1, count)).tolist(), strict=True))
