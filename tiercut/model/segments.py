"""Segments on ONNX Runtime: the part of a model between two cuts as a callable, and a node's cache of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime as ort

from tiercut.errors import BundleError, InputError
from tiercut.heap import give_back
from tiercut.model.memory import held_bytes
from tiercut.plan import FULL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tiercut.model.cuts import TensorSpec

    Tensors = Mapping[str, NDArray[np.generic]]

#: The processor; before it an NVIDIA card, where the package onnxruntime-gpu is installed instead of onnxruntime.
_WANTED = ("CUDAExecutionProvider", "CPUExecutionProvider")
PROVIDERS = [name for name in _WANTED if name in ort.get_available_providers()]


class Segment:
    """The part of a model between two cuts.

    Threads neither spin while idle nor busy-wait for one another, so a node without frames uses no CPU.

    Args:
        model: Serialised part of the graph; ``None`` for an empty segment, which gives what it takes.
        folder: Where the data file is that its weights refer to; ONNX Runtime maps it.
        takes: All tensors alive at its first cut.
        gives: All tensors alive at its last cut.
        title: What people call it, for messages.
        threads: Threads that work on one operator.
        weight_bytes: Size of its weights.
        activation_bytes: Most bytes of tensors alive at once while it runs.

    Raises:
        BundleError: ONNX Runtime refuses the graph.
    """

    def __init__(
        self,
        model: bytes | None,
        *,
        folder: Path,
        takes: Sequence[TensorSpec],
        gives: Sequence[TensorSpec],
        title: str,
        threads: int = 1,
        weight_bytes: int = 0,
        activation_bytes: int = 0,
    ) -> None:
        self.takes = tuple(takes)
        self.gives = tuple(gives)
        self.title = title
        self._session = None if model is None else _session(model, folder, title, threads)
        self._fed: list[str] = [i.name for i in self._session.get_inputs()] if self._session else []
        self._made: list[str] = [o.name for o in self._session.get_outputs()] if self._session else []
        self._warm = self._session is None
        #: Estimate of the memory it holds.
        self.memory_bytes = 0 if model is None else held_bytes(weight_bytes, activation_bytes)

    def warm_up(self) -> None:
        """Run it once on zeros: the first run of a session takes longer, and no frame is to pay for it."""
        if not self._warm:
            self({spec.name: np.zeros(spec.shape, spec.dtype) for spec in self.takes})
            self._warm = True

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """The same as `run`."""
        return self.run(inputs)

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run it once; safe from several threads at a time.

        Args:
            inputs: Every tensor alive at the first cut, by name.

        Returns:
            Every tensor alive at the last cut, by name; those that only pass by are the same arrays.

        Raises:
            InputError: a tensor is missing, not known, or of another shape or type.
            BundleError: ONNX Runtime fails on inputs that do fit.
        """
        self._check(inputs)
        made: dict[str, NDArray[np.generic]] = {}
        if self._session is not None:
            try:
                arrays = self._session.run(self._made, {name: inputs[name] for name in self._fed})
            except Exception as error:  # the runtime has no common class for its errors
                raise _refused(self.title, "cannot run", error) from error
            made = dict(zip(self._made, arrays, strict=True))
        return {tensor.name: made[tensor.name] if tensor.name in made else inputs[tensor.name] for tensor in self.gives}

    def _check(self, inputs: Tensors) -> None:
        for tensor in self.takes:
            array = inputs.get(tensor.name)
            if array is None:
                raise _unfit(self.title, f"the tensor '{tensor.name}' {tensor}", f"only {sorted(inputs)}")
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                came = f"{array.dtype.name}{list(array.shape)}"
                raise _unfit(self.title, f"'{tensor.name}' as {tensor}", came)
        if len(inputs) > len(self.takes):
            unknown = sorted(inputs.keys() - {tensor.name for tensor in self.takes})
            raise _unfit(self.title, f"only {[tensor.name for tensor in self.takes]}", f"also {unknown}")


class Cuttable(Protocol):
    """What the cache needs of a bundle."""

    @property
    def model(self) -> str:
        """Identity."""
        ...

    def same_segment(self, b: int, variant: str) -> str:
        """The variant that shares its segments up to cut ``b``."""
        ...

    def segment(self, a: int, b: int, threads: int = 1, variant: str = FULL) -> Segment:
        """Build one."""
        ...


_Key = tuple[str, int, int, int, str]


class SegmentCache:
    """The segments of one node, the least recently used ones dropped when they need too much memory.

    Built outside the lock, so that streams go on while one is being built; who asks for the same one meanwhile waits
    for it. A segment that is over the bound alone is kept alone, as the node could not work otherwise.

    Args:
        max_bytes: Bound for the sum of `Segment.memory_bytes`.
        makes_room: Segments are dropped before another one is built, so that they never hold more than that together.
    """

    def __init__(self, max_bytes: int, *, makes_room: bool = False) -> None:
        self.max_bytes = max_bytes
        self._makes_room = makes_room
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, Segment] = OrderedDict()
        self._building: dict[_Key, Future[Segment]] = {}
        self._used_bytes = 0

    def get(
        self,
        bundle: Cuttable,
        a: int,
        b: int,
        threads: int = 1,
        variant: str = FULL,
        *,
        holds_bytes: int | None = None,
    ) -> Segment:
        """The segment, built now or earlier.

        Args:
            bundle: Its model.
            a: Its first cut.
            b: Its last cut.
            threads: Threads that work on one operator.
            variant: Whose cuts these are.
            holds_bytes: What it is known to hold; `Segment.memory_bytes` says what it is thought to.

        Raises:
            TiercutError: it cannot be built, see `Bundle.segment`; the next call tries again.
        """
        key = (bundle.model, a, b, threads, bundle.same_segment(b, variant))
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            pending = self._building.get(key)
            if pending is None:
                mine = self._building[key] = Future()
        if pending is not None:
            return pending.result()
        return self._build(key, bundle, mine, holds_bytes)

    @property
    def used_bytes(self) -> int:
        """Estimated memory of all segments that are kept."""
        with self._lock:
            return self._used_bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def __contains__(self, key: _Key) -> bool:
        """Whether ``(bundle.model, a, b, threads, variant)`` is ready."""
        with self._lock:
            return key in self._kept

    def _build(self, key: _Key, bundle: Cuttable, future: Future[Segment], holds_bytes: int | None) -> Segment:
        if self._makes_room and holds_bytes is not None:
            with self._lock:
                self._drop(self.max_bytes - holds_bytes, keep=0)
            give_back()
        try:
            segment = bundle.segment(*key[1:])
        except BaseException as error:
            with self._lock:
                del self._building[key]
            future.set_exception(error)
            raise
        if holds_bytes is not None:
            segment.memory_bytes = holds_bytes
        give_back()
        with self._lock:
            del self._building[key]
            self._keep(key, segment)
        future.set_result(segment)
        return segment

    def _keep(self, key: _Key, segment: Segment) -> None:
        self._kept[key] = segment
        self._used_bytes += segment.memory_bytes
        self._drop(self.max_bytes, keep=1)

    def _drop(self, most_bytes: int, *, keep: int) -> None:
        """Drop the least recently used ones until those that are left hold no more than that."""
        while self._used_bytes > most_bytes and len(self._kept) > keep:
            _, given_up = self._kept.popitem(last=False)
            self._used_bytes -= given_up.memory_bytes


def _session(model: bytes, folder: Path, title: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # 2 MB less for the same time: one block for all tensors is seldom filled
    options.log_severity_level = 3  # errors: they come as exceptions too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        return ort.InferenceSession(model, options, providers=PROVIDERS)
    except Exception as error:  # the runtime has no common class for its errors
        raise _refused(title, "cannot load", error) from error


def _refused(title: str, what: str, error: Exception) -> BundleError:
    return BundleError(
        f"ONNX Runtime {what} the segment {title}",
        expected="a graph and weights that it supports",
        came=" ".join(str(error).split())[:200],
        fix="update onnxruntime, or export the model again",
    )


def _unfit(title: str, expected: str, came: str) -> InputError:
    return InputError(
        f"the tensors do not fit the segment {title}",
        expected=expected,
        came=came,
        fix="send what 'bundle.cuts[a].tensors' lists",
    )
