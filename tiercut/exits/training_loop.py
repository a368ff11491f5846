"""The training loop: a task says what it learns; an interrupted one resumes."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tiercut.exits.checkpoint import Checkpoint, State
from tiercut.exits.recipe import Progress, Recipe, Report

Places = NDArray[np.int64]

#: Seconds between two checkpoints, and between two reports.
_SAVED_EVERY_S, _SAID_EVERY_S = 30.0, 0.5
#: Part of all steps over which the learning rate rises.
_WARM_UP = 0.2


class Task(ABC):
    """What is to be learned.

    Attributes:
        network: All that is trained.
        count: How many frames there are to learn from.
    """

    network: torch.nn.Module
    count: int

    @abstractmethod
    def loss(self, places: Places) -> torch.Tensor:
        """The loss on some of the frames."""

    @abstractmethod
    def accuracy(self) -> Mapping[str, float]:
        """How good each exit is on held-back frames, 0..1."""


def fit(
    task: Task, recipe: Recipe, checkpoint: Checkpoint, report: Report, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Train a task's network, from where a checkpoint left it.

    With as many threads, an interrupted training ends with the weights of one that was not.

    Args:
        task: What to learn.
        recipe: How.
        checkpoint: Where to keep its state; the file is left behind for the caller to remove.
        report: Told of progress.
        clock: Seconds.

    Raises:
        SettingsError: the checkpoint belongs to another training.
    """
    loop = _Loop(task, recipe, checkpoint, report, clock)
    loop.resume()
    for epoch in range(recipe.epochs):
        loop.run_epoch(epoch)


class _Loop:
    def __init__(
        self, task: Task, recipe: Recipe, checkpoint: Checkpoint, report: Report, clock: Callable[[], float]
    ) -> None:
        self._task, self._recipe, self._checkpoint = task, recipe, checkpoint
        self._report, self._clock = report, clock
        self._per_epoch = math.ceil(task.count / recipe.batch)
        self._steps = self._per_epoch * recipe.epochs
        trained = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate)
        self._done = self._began_at = 0
        self._began = self._saved = self._said = clock()
        self._losses: list[float] = []

    def resume(self) -> None:
        state = self._checkpoint.load()
        if state is not None:
            self._task.network.load_state_dict(dict(state.network))
            self._optimizer.load_state_dict(dict(state.optimizer))
            self._done = self._began_at = state.step

    def run_epoch(self, epoch: int) -> None:
        first = self._per_epoch * epoch
        if self._done >= first + self._per_epoch:
            return
        order = np.random.default_rng([self._recipe.seed, epoch]).permutation(self._task.count)
        bounds = [*range(0, self._task.count, self._recipe.batch), self._task.count]
        for step, (start, stop) in enumerate(pairwise(bounds), start=first):
            if step >= self._done:
                self._step(order[start:stop])
                self._after_step(epoch)
        self._save()
        self._say(epoch, self._task.accuracy())

    def _step(self, places: Places) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * _schedule(self._done / self._steps)
        self._task.network.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._task.loss(places)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._done += 1
        self._losses = [*self._losses[-49:], float(loss.detach())]

    def _after_step(self, epoch: int) -> None:
        now = self._clock()
        if now - self._saved >= _SAVED_EVERY_S:
            self._save()
        if now - self._said >= _SAID_EVERY_S:
            self._say(epoch, {})

    def _save(self) -> None:
        network, optimizer = self._task.network.state_dict(), self._optimizer.state_dict()
        self._checkpoint.save(State(step=self._done, network=network, optimizer=optimizer))
        self._saved = self._clock()

    def _say(self, epoch: int, accuracy: Mapping[str, float]) -> None:
        self._said = now = self._clock()
        spent, steps = now - self._began, max(1, self._done - self._began_at)
        self._report(
            Progress(
                epoch=epoch + 1,
                epochs=self._recipe.epochs,
                part=self._done / self._steps,
                loss=sum(self._losses) / max(1, len(self._losses)),
                accuracy=accuracy,
                seconds=spent,
                seconds_left=spent / steps * (self._steps - self._done),
            )
        )


def _schedule(part: float) -> float:
    """The learning rate, as a part of its peak."""
    if part < _WARM_UP:
        return 0.05 + 0.95 * part / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (part - _WARM_UP) / (1 - _WARM_UP))
