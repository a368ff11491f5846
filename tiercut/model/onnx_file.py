"""Reads and writes as much of an ONNX file as cutting it takes: nodes, and what is said of tensors and weights.

A node of a site cuts its segments with this: the package ``onnx`` would be 10 MB and 0.2 s of every start. The fields
are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Parts keep the bytes that they were read from, so
what is not read (weights, attributes, types) is copied as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tiercut.model.protobuf import Value, as_bytes, as_int, as_text, field, fields, varint_field, varints

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Element types of tensors by their number in ``TensorProto.DataType``, as numpy calls them; others no cut may have.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
#: A node's field, and the numbers of two types: of an attribute, and of a tensor's elements.
_ATTRIBUTE, _INTS, _FLOAT32 = 5, 7, 1


class Attribute(Struct, frozen=True):
    """An attribute of a node, as far as it is one integer or string.

    Attributes:
        name: Its name.
        i: The integer; 0 where it is none.
        s: The string; empty where it is none.
    """

    name: str
    i: int
    s: bytes


class OnnxNode(Struct, frozen=True):
    """A node.

    Attributes:
        name: Its name.
        op_type: Its operator.
        input: Names of the tensors that it takes; empty where an optional one is missing.
        output: Names of those that it gives.
        encoded: All of it.
    """

    name: str
    op_type: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    encoded: bytes

    @property
    def attribute(self) -> tuple[Attribute, ...]:
        """Its attributes; read only when they are asked for."""
        return tuple(_read_attribute(value) for number, value in fields(self.encoded) if number == _ATTRIBUTE)


class OnnxTensor(Struct, frozen=True):
    """What a file says of a tensor or of a weight.

    Attributes:
        name: Its name.
        dtype: Element type as numpy calls it; ``None`` where it is unknown, or where no cut may have it.
        shape: Dimensions; ``None`` where one is not fixed.
        encoded: All of it.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...] | None
    encoded: bytes


class OnnxModel(Struct, frozen=True, kw_only=True):
    """A model.

    Attributes:
        head: The version of the format and those of the operators, as they are written.
        nodes: In their order.
        inputs: Of the whole.
        outputs: Of the whole.
        weights: With their values, or where those are.
        values: Tensors between nodes.
        name: Of the graph.
    """

    head: bytes
    nodes: tuple[OnnxNode, ...]
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    weights: tuple[OnnxTensor, ...]
    values: tuple[OnnxTensor, ...] = ()
    name: str = ""

    def encode(self) -> bytes:
        """As an ONNX file."""
        graph = b"".join(
            (
                *(field(1, each.encoded) for each in self.nodes),
                field(2, self.name.encode()),
                *(field(5, each.encoded) for each in self.weights),
                *(field(11, each.encoded) for each in self.inputs),
                *(field(12, each.encoded) for each in self.outputs),
                *(field(13, each.encoded) for each in self.values),
            )
        )
        return self.head + field(2, b"tiercut") + field(7, graph)


def dtype_name(element_type: int) -> str | None:
    """Name in numpy of an ONNX element type, ``None`` where a tensor between two nodes may not have it."""
    return _DTYPES.get(element_type)


def read_model(data: bytes) -> OnnxModel:
    """Read a file.

    Raises:
        BundleError: it is no ONNX file.
    """
    graph, head = b"", b""
    for number, value in fields(data):
        match number:
            case 1:  # ir_version
                head += varint_field(1, as_int(value))
            case 7:
                graph = as_bytes(value)
            case 8:  # opset_import
                head += field(8, as_bytes(value))
    parts: dict[int, list[bytes]] = {}
    for number, value in fields(graph):
        if isinstance(value, bytes):
            parts.setdefault(number, []).append(value)
    return OnnxModel(
        head=head,
        nodes=tuple(map(read_node, parts.get(1, []))),
        inputs=tuple(map(_read_value, parts.get(11, []))),
        outputs=tuple(map(_read_value, parts.get(12, []))),
        weights=tuple(map(_read_weight, parts.get(5, []))),
        values=tuple(map(_read_value, parts.get(13, []))),
        name=as_text(parts.get(2, [b""])[-1]),
    )


def make_head(*, ir_version: int, opset: int) -> bytes:
    """`OnnxModel.head` of a version of the format, and of the standard operators."""
    return varint_field(1, ir_version) + field(8, varint_field(2, opset))


def make_node(
    op_type: str, name: str, inputs: Iterable[str], outputs: Iterable[str], **lists: Iterable[int]
) -> OnnxNode:
    """A node whose attributes are lists of integers."""
    texts = [(1, each) for each in inputs] + [(2, each) for each in outputs] + [(3, name), (4, op_type)]
    attributes = [
        field(1, key.encode()) + b"".join(varint_field(8, each) for each in ints) + varint_field(20, _INTS)
        for key, ints in lists.items()
    ]
    encoded = [*(field(number, text.encode()) for number, text in texts), *(field(_ATTRIBUTE, a) for a in attributes)]
    return read_node(b"".join(encoded))


def make_value(name: str, shape: Iterable[int]) -> OnnxTensor:
    """A tensor of float32."""
    dims = b"".join(field(1, varint_field(1, size)) for size in shape)
    tensor = varint_field(1, _FLOAT32) + field(2, dims)
    return _read_value(field(1, name.encode()) + field(2, field(1, tensor)))


def make_weight(name: str, shape: Iterable[int], data: bytes) -> OnnxTensor:
    """A weight of float32, with its values."""
    dims = b"".join(varint_field(1, size) for size in shape)
    return _read_weight(dims + varint_field(2, _FLOAT32) + field(8, name.encode()) + field(9, data))


# ------------------------------------------------------------------ parts


def read_node(data: bytes) -> OnnxNode:
    """Read a node.

    Raises:
        BundleError: it is none.
    """
    inputs, outputs = list[str](), list[str]()
    name = op_type = ""
    for number, value in fields(data):
        match number:
            case 1:
                inputs.append(as_text(value))
            case 2:
                outputs.append(as_text(value))
            case 3:
                name = as_text(value)
            case 4:
                op_type = as_text(value)
    return OnnxNode(name, op_type, tuple(inputs), tuple(outputs), data)


def _read_attribute(data: Value) -> Attribute:
    name, i, s = "", 0, b""
    for number, value in fields(data):
        match number:
            case 1:
                name = as_text(value)
            case 3:
                i = as_int(value)
            case 4:
                s = as_bytes(value)
    return Attribute(name, i, s)


def _read_weight(data: bytes) -> OnnxTensor:
    name, dtype, shape = "", None, list[int]()
    for number, value in fields(data):
        match number:
            case 1:  # dims, one by one or packed
                shape += [value] if isinstance(value, int) else varints(value)
            case 2:
                dtype = dtype_name(as_int(value))
            case 8:
                name = as_text(value)
    return OnnxTensor(name, dtype, tuple(shape), data)


def _read_value(data: bytes) -> OnnxTensor:
    name, dtype = "", None
    shape: tuple[int, ...] | None = None
    for number, value in fields(data):
        match number:
            case 1:
                name = as_text(value)
            case 2:  # type: a tensor's is field 1 of it
                for tensor in (each for kind, each in fields(value) if kind == 1):
                    dtype, shape = _read_tensor_type(tensor)
    return OnnxTensor(name, dtype, shape, data)


def _read_tensor_type(data: Value) -> tuple[str | None, tuple[int, ...] | None]:
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    for number, value in fields(data):
        match number:
            case 1:
                dtype = dtype_name(as_int(value))
            case 2:
                sizes = [_read_size(each) for kind, each in fields(value) if kind == 1]
                fixed = [size for size in sizes if size is not None and size >= 0]
                shape = tuple(fixed) if len(fixed) == len(sizes) else None
    return dtype, shape


def _read_size(data: Value) -> int | None:
    """A dimension; ``None`` where it has a name, or nothing is known of it."""
    size = None
    for number, value in fields(data):
        match number:
            case 1:
                size = as_int(value)
            case 2:
                size = None
    return size
