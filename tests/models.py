"""Small untrained networks of every kind that must be cuttable, with fixed weights and an example input each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.right = nn.Conv2d(8, 16, 1, stride=2)
        self.head = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        x = torch.relu(self.left(x) + self.right(x))
        x = torch.relu(x + x.flip(1))
        result: torch.Tensor = self.head(x.mean((2, 3)))
        return result


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.three = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1))
        self.five = nn.Conv2d(3, 2, 5, padding=2)
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(3, 3, 1))
        self.head = nn.Linear(15, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.one(image), self.three(image), self.five(image), self.pool(image)], 1)
        result: torch.Tensor = self.head(torch.relu(x).amax((2, 3)))
        return result


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.head = nn.Linear(19, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        result: torch.Tensor = self.head(x.mean((2, 3)))
        return result


class Depthwise(nn.Module):
    """MobileNet's inverted residual with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(4, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 3, 1), nn.ReLU(), nn.Conv2d(3, 12, 1))
        self.project = nn.Conv2d(12, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.depth(self.expand(image))
        result: torch.Tensor = image + self.project(x * torch.sigmoid(self.squeeze(x)))
        return result


class Attention(nn.Module):
    """An encoder layer on token ids, with a table of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.encoder(self.embed(tokens)).mean(1))
        return result


class MultiInput(nn.Module):
    """The second input is needed only near the end, and so travels past most of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.both = nn.Linear(7, 2)

    def forward(self, image: torch.Tensor, sensors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.both(torch.cat([self.image(image), sensors], 1))
        return result


class MultiOutput(nn.Module):
    """An early output travels past the rest of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2)
        self.second = nn.Conv2d(4, 8, 3)
        self.classes = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.relu(self.first(image))
        y = torch.relu(self.second(x))
        return x.mean((2, 3)), self.classes(y.mean((2, 3))), y


class EarlyExits(nn.Module):
    """A chain with two early exits, behind its first and its second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.last = nn.Linear(8, 4)
        self.early = nn.Linear(4, 4)
        self.late = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = torch.relu(self.first(image))
        second = torch.relu(self.second(first))
        third = torch.relu(self.third(second))
        return (
            self.last(third.mean((2, 3))),
            self.early(first.mean((2, 3))),
            self.late(second.mean((2, 3))),
        )


class Branching(nn.Module):
    """Decides by its data which layers run: cannot be cut."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 2 if image.sum() > 0 else image - 1


def chain_module() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
        nn.ReLU(),
        nn.Linear(10, 4),
    )


def image(size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(1))


def seeded(make: Callable[[], nn.Module], *example: torch.Tensor) -> Callable[[], Built]:
    def build() -> Built:
        torch.manual_seed(0)
        module = make()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as after training: statistics that do something
                nn.init.uniform_(layer.running_mean)  # type: ignore[arg-type]
                nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
        return module, example

    return build


ARCHITECTURES: dict[str, Callable[[], Built]] = {
    "chain": seeded(chain_module, image()),
    "residual": seeded(Residual, image(8)),
    "inception": seeded(Inception, image(8)),
    "dense": seeded(Dense, image(8)),
    "depthwise": seeded(Depthwise, image(8, channels=4)),
    "attention": seeded(Attention, torch.arange(6).reshape(1, 6)),
    "multi_input": seeded(MultiInput, image(8), torch.ones(1, 3)),
    "multi_output": seeded(MultiOutput, image(12)),
}


def function_model() -> Built:
    """What ``tests.models:function_model`` names on the command line."""
    return ARCHITECTURES["chain"]()


def arrays(example: tuple[torch.Tensor, ...]) -> list[NDArray[np.generic]]:
    return [tensor.numpy() for tensor in example]


def write_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    shape: tuple[int | str, ...] = (1, 3, 8, 8),
    weights: dict[str, NDArray[np.generic]] | None = None,
    output: str = "y",
) -> Path:
    """A graph from ``x`` to ``output`` as a file."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def conv_onnx(path: Path, shape: tuple[int | str, ...] = (1, 3, 8, 8)) -> Path:
    """A convolution to 16 channels, a ReLU and a mean over space: small, and made without torch."""
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    return write_onnx(path, nodes, shape=shape, weights={"w": weight})
