"""Codecs that were trained for one cut of one model: a small network on each side of another codec.

`tiercut bottleneck train` makes them. A bundle carries the two networks as files, and `Bundle.learned` has the codecs.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiercut.codecs.base import Array, Bytes, Codec, check_fits, check_input, declared_bytes
from tiercut.codecs.table import codec
from tiercut.errors import BundleError, ChecksumError, SettingsError
from tiercut.model.bundle_format import FileMark
from tiercut.model.cuts import TensorSpec
from tiercut.model.segments import Segment
from tiercut.model.variants import LearnedSpec

#: Names of input and output of the two networks: the encoder makes the code of the tensor, the decoder the reverse.
TENSOR, CODE = "tensor", "code"


class LearnedCodec:
    """An encoder, a codec for what it makes, and a decoder.

    The networks are loaded when they are first used, or by `prepare`. What comes from the bus is checked by the codec
    in the middle; whatever code it gives, the decoder makes a tensor of the right type and shape of it.

    Args:
        spec: What the bundle says of it.
        folder: Folder of the bundle.
        tensor: The tensor of its cut.
        marks: Sizes and checksums of the bundle's files.

    Raises:
        BundleError: the codec in the middle is unknown, or does not take the code.
    """

    lossless = False

    def __init__(self, spec: LearnedSpec, folder: Path, tensor: TensorSpec, marks: Mapping[str, FileMark]) -> None:
        self.name = spec.name
        self.inner = _inner(spec)
        self._spec = spec
        self._folder = folder
        self._marks = marks
        self._tensor = TensorSpec(TENSOR, tensor.shape, tensor.dtype)
        self._code = TensorSpec(CODE, spec.code, "float32")
        self._lock = threading.Lock()
        self._encoder: Segment | None = None
        self._decoder: Segment | None = None

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """Tensors as those of its cut."""
        return (dtype, tuple(shape)) == (self._tensor.dtype, self._tensor.shape)

    def encode(self, array: Array) -> bytes:
        """The code's bytes; ``InputError`` for another tensor, or values that its codec cannot bound."""
        check_input(self, array)
        return self.inner.encode(self.encoder.run({TENSOR: array})[CODE])

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """What the decoder makes of the code; ``BadTensor`` for bytes that are not exactly one code."""
        declared_bytes(dtype, shape)
        check_fits(self, dtype, shape)
        code = self.inner.decode(data, dtype=self._code.dtype, shape=self._code.shape)
        return self.decoder.run({CODE: code})[TENSOR]

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """What the codec in the middle estimates for the code."""
        declared_bytes(dtype, shape)
        return self.inner.estimate_bytes(self._code.dtype, self._code.shape)

    def error_bound(self, array: Array) -> float:
        """None: a network promises nothing."""
        del array
        return math.inf

    def prepare(self) -> None:
        """Load both networks and run them once, so that no frame waits for it.

        Raises:
            BundleError: the files changed since the bundle was loaded, or ONNX Runtime refuses them.
        """
        self.encoder.warm_up()
        self.decoder.warm_up()

    @property
    def encoder(self) -> Segment:
        """From `TENSOR` to `CODE`."""
        if self._encoder is None:
            with self._lock:
                self._encoder = self._encoder or self._load(self._spec.encoder, self._tensor, self._code)
        return self._encoder

    @property
    def decoder(self) -> Segment:
        """From `CODE` to `TENSOR`."""
        if self._decoder is None:
            with self._lock:
                self._decoder = self._decoder or self._load(self._spec.decoder, self._code, self._tensor)
        return self._decoder

    def _load(self, file: str, takes: TensorSpec, gives: TensorSpec) -> Segment:
        path = self._folder / file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"cannot read '{path}'",
                expected="a file of the bundle",
                came=(error.strerror or str(error)).lower(),
                fix="copy the bundle again, with all its files",
            ) from error
        # The folder may have been written again since the bundle was loaded: a codec that was trained again would
        # decode what others encoded with the old one.
        digest = hashlib.sha256(data).hexdigest()
        if digest != self._marks[file].sha256:
            raise ChecksumError(
                f"'{path}' is not the file that was there when the bundle was loaded",
                expected=f"SHA-256 {self._marks[file].sha256[:16]}…",
                came=f"{digest[:16]}…",
                fix="restart with the new bundle on every node",
            )
        return Segment(data, folder=self._folder, takes=(takes,), gives=(gives,), title=f"{self.name}/{gives.name}")


def _inner(spec: LearnedSpec) -> Codec:
    """The codec in the middle, which must be known on this machine."""
    try:
        inner = codec(spec.inner)
    except SettingsError as error:
        raise _bad(spec, error.expected, spec.inner) from error
    if not inner.accepts("float32", spec.code):
        raise _bad(spec, f"a codec that takes float32{list(spec.code)}", spec.inner)
    return inner


def _bad(spec: LearnedSpec, expected: str, came: str) -> BundleError:
    return BundleError(
        f"the codec '{spec.name}' of the bundle is not valid",
        expected=expected,
        came=f"'{came}'",
        fix="install the tiercut that wrote the bundle, or train the codec again",
    )
