"""One tensor in a codec, as messages carry it."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.errors import refuse
from tiercut.limits import MAX_DIMENSIONS, MAX_TEXT


@dataclass(frozen=True, slots=True)
class EncodedTensor:
    """One tensor on its way.

    Attributes:
        name: Name in the model's graph.
        dtype: numpy name of the decoded element type (``"float32"``).
        shape: Shape of the decoded tensor.
        codec: What ``data`` is in: a name of the table, or of the bundle's own. May differ from the plan's codec where
            that does not take such a tensor.
        data: The bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    data: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_TEXT:
            raise refuse("bad_tensor_name", expected=f"1 to {MAX_TEXT} characters", came=self.name)
        if len(self.shape) > MAX_DIMENSIONS or any(n < 0 for n in self.shape):
            raise refuse("bad_shape", expected=f"at most {MAX_DIMENSIONS} dimensions >= 0", came=self.shape)
