"""What an attacker hears: the tensors alive at a cut, as they come out behind a codec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.table import codec
from tiercut.errors import CutError
from tiercut.exits.batches import Features, Inputs, Probe
from tiercut.exits.recipe import Note
from tiercut.model.bundle import Bundle

Arrays = list[NDArray[Any]]

#: Frames at once where nothing is trained.
BATCH = 250


class Wire:
    """The way through a codec, at one cut.

    Attributes:
        bundle: The model.
        cut: The cut.
        codec: What its tensors travel in.
        carries_frame: Whether the frame itself is among the tensors.

    Args:
        bundle: The model.
        cut: The cut.
        codec_name: What its tensors travel in, noise included.

    Raises:
        CutError: there is no such cut.
        SettingsError: there is no such codec.
    """

    def __init__(self, bundle: Bundle, cut: int, codec_name: str) -> None:
        if not 0 <= cut <= bundle.end:
            raise CutError(
                f"the model '{bundle.name}' has no cut {cut}",
                expected=f"a cut of 0 to {bundle.end}",
                came=str(cut),
                fix="choose cuts from the table that 'tiercut inspect BUNDLE' prints",
            )
        self.codec = codec(codec_name, bundle.learned)
        self.bundle, self.cut = bundle, cut
        self.tensors = bundle.cuts[cut].tensors
        self.carries_frame = bundle.inputs[0] in self.tensors

    def send(self, arrays: Arrays) -> tuple[Arrays, int]:
        """What comes out, and how many bytes were on the wire.

        Args:
            arrays: Tensors of some frames, ``(frames, *rest)`` each; every frame is a message of its own.

        Raises:
            InputError: a tensor does not travel in the codec, see `encode_tensor`.
        """
        total, heard, learned = 0, [np.empty_like(array) for array in arrays], self.bundle.learned
        for tensor, before, after in zip(self.tensors, arrays, heard, strict=True):
            for i in range(len(before)):
                sent = encode_tensor(tensor.name, before[i].reshape(tensor.shape), self.codec.name, learned)
                total += len(sent.data)
                after[i] = decode_tensor(sent, learned).reshape(after.shape[1:])
        return heard, total


class Ears:
    """What is heard of a set of frames. Noise is new each time, as it is in each message.

    Args:
        wire: Where to listen.
        inputs: The frames.
        folder: An empty folder for the tensors before the codec.
        note: Hears how far the model has run.
        threads: Threads of ONNX Runtime.

    Raises:
        InputError: the model takes more than a frame.
        DataError: a frame cannot be read.
    """

    def __init__(self, wire: Wire, inputs: Inputs, folder: Path, note: Note, threads: int) -> None:
        probe = Probe(wire.bundle, [tensor.name for tensor in wire.tensors], threads=threads)
        self._wire = wire
        self._features = Features(probe, inputs, folder, note)

    def __len__(self) -> int:
        return len(self._features)

    def batch(self, places: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """Of some frames, ``(frames, *rest)`` for each tensor."""
        return self._wire.send(self._features.batch(places))[0]

    def each(self) -> Iterator[tuple[Arrays, int]]:
        """Of all of them in their order, batch by batch, with the bytes on the wire."""
        for start in range(0, len(self), BATCH):
            yield self._wire.send(self._features.batch(range(start, min(len(self), start + BATCH))))
