"""One ONNX node as a torch operator sees it: its tensors, and its settings wherever its opset keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from tiercut.errors import ExportError


@dataclass(slots=True, kw_only=True)
class Call:
    """A node with the tensors that it is applied to.

    Attributes:
        op: Its operator.
        name: Its name, for messages.
        attributes: Its attributes.
        fixed: Per input, its value where that is an initialiser of the graph.
        outputs: How many of its outputs are used, counted up to the last used one.
        version: Of the operator set.
        tensors: Per input, the tensor; ``None`` where an optional one is omitted.
    """

    op: str
    name: str
    attributes: Mapping[str, Any]
    fixed: Sequence[NDArray[Any] | None]
    outputs: int
    version: int
    tensors: Sequence[torch.Tensor | None] = field(default=())

    @property
    def x(self) -> torch.Tensor:
        """The first tensor."""
        return self.tensor(0)

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.tensors) and self.tensors[index] is not None

    def tensor(self, index: int) -> torch.Tensor:
        """An input that must be there."""
        tensor = self.tensors[index] if index < len(self.tensors) else None
        if tensor is None:
            raise self.unfit(f"input {index}", "none")
        return tensor

    def optional(self, index: int) -> torch.Tensor | None:
        """An input that may be omitted."""
        return self.tensors[index] if index < len(self.tensors) else None

    def get(self, name: str, default: Any) -> Any:
        """An attribute, strings decoded."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def constant(self, name: str, index: int) -> NDArray[Any] | None:
        """A setting that older operator sets keep in an attribute, and newer ones in a constant input."""
        if name in self.attributes:
            return np.asarray(self.attributes[name])
        if not self.has(index):
            return None
        value = self.fixed[index]
        if value is None:
            raise self.unfit(f"'{name}' as a constant", "one that is computed")
        return value

    def ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """The same as whole numbers."""
        value = self.constant(name, index)
        return None if value is None else tuple(int(n) for n in value.reshape(-1))

    def number(self, name: str, index: int) -> float | None:
        """The same as one number."""
        value = self.constant(name, index)
        return None if value is None else float(value.reshape(-1)[0])

    def unfit(self, expected: str, came: str) -> ExportError:
        """The error for a form of the operator that has no translation."""
        return untranslatable(f"the node '{self.name}' ({self.op})", expected, came)


def untranslatable(what: str, expected: str, came: str) -> ExportError:
    """The error for what torch cannot be made to compute."""
    return ExportError(
        f"{what} cannot be trained",
        expected=expected,
        came=came,
        fix="train parts of the model without it (frozen trunk), or export the model with other operators",
    )


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
