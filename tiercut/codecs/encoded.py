"""One tensor in a codec, as messages carry it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tiercut.codecs.base import DTYPES
from tiercut.fields import CodecName, reason
from tiercut.limits import MAX_DIMENSIONS, MAX_TEXT

_DType = Annotated[str, Meta(pattern=rf"^({'|'.join(DTYPES)})\Z"), reason("unknown_dtype")]
_Dimension = Annotated[int, Meta(ge=0), reason("bad_shape")]


class EncodedTensor(Struct, frozen=True, kw_only=True):
    """One tensor on its way.

    Attributes:
        name: Name in the model's graph.
        dtype: numpy name of the decoded element type (``"float32"``).
        codec: What ``data`` is in: a name of the table, or of the bundle's own. May differ from the plan's codec where
            that does not take such a tensor.
        shape: Shape of the decoded tensor.
        data: The bytes; of a tensor that came, those in its message.
    """

    name: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT), reason("bad_tensor_name")]
    dtype: _DType
    codec: CodecName
    shape: Annotated[tuple[_Dimension, ...], Meta(max_length=MAX_DIMENSIONS)]
    data: memoryview
