"""Architectures of realistic size with random weights, written from their papers, to fit and to test predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def conv(taken: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    layer = nn.Conv2d(taken, made, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(made), nn.ReLU())


def head(channels: int, classes: int = 1000) -> nn.Sequential:
    """Mean over space and one matrix product."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Block(nn.Module):
    """ResNet's basic block (He et al. 2015)."""

    def __init__(self, taken: int, made: int, stride: int) -> None:
        super().__init__()
        self.first = conv(taken, made, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(made, made, 3, 1, 1, bias=False), nn.BatchNorm2d(made))
        self.short = nn.Identity() if taken == made and stride == 1 else nn.Conv2d(taken, made, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The residual, and what it is added to."""
        return torch.relu(self.second(self.first(x)) + self.short(x))


def resnet18() -> nn.Module:
    """ResNet-18."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    taken = 64
    for made in (64, 128, 256, 512):
        layers += [Block(taken, made, 1 if made == 64 else 2), Block(made, made, 1)]
        taken = made
    return nn.Sequential(*layers, head(512))


def alexnet() -> nn.Module:
    """AlexNet (Krizhevsky 2014)."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


def vgg11() -> nn.Module:
    """VGG-11 (Simonyan and Zisserman 2014), its dense layers a quarter as wide: 27 million weights of 124 remain."""
    layers: list[nn.Module] = []
    taken = 3
    for made, pool in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0), (512, 1)):
        layers += [nn.Conv2d(taken, made, 3, 1, 1), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
        taken = made
    dense = [nn.Flatten(), nn.LazyLinear(1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1000)]
    return nn.Sequential(*layers, *dense)


def mobilenet_v1() -> nn.Module:
    """MobileNet (Howard et al. 2017)."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    taken = 32
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for made, stride in plan:
        layers += [conv(taken, taken, 3, stride, groups=taken), conv(taken, made, 1)]
        taken = made
    return nn.Sequential(*layers, head(1024))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual (Sandler et al. 2018)."""

    def __init__(self, taken: int, made: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = taken * factor
        self.add = taken == made and stride == 1
        self.layers = nn.Sequential(
            *([conv(taken, wide, 1)] if factor > 1 else []),
            conv(wide, wide, 3, stride, groups=wide),
            nn.Sequential(nn.Conv2d(wide, made, 1, bias=False), nn.BatchNorm2d(made)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With the shortcut where shapes allow it."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.add else y


def mobilenet_v2() -> nn.Module:
    """MobileNetV2."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    taken = 32
    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, made, count, stride in plan:
        for i in range(count):
            layers.append(Inverted(taken, made, stride if i == 0 else 1, factor))
            taken = made
    return nn.Sequential(*layers, conv(320, 1280, 1), head(1280))


class Mixed(nn.Module):
    """GoogLeNet's inception module (Szegedy et al. 2014)."""

    def __init__(self, taken: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.one = conv(taken, one, 1)
        self.three = nn.Sequential(conv(taken, three[0], 1), conv(three[0], three[1], 3))
        self.five = nn.Sequential(conv(taken, five[0], 1), conv(five[0], five[1], 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(taken, pool, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All four branches side by side."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet() -> nn.Module:
    """GoogLeNet without its auxiliary heads."""
    return nn.Sequential(
        conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), conv(64, 64, 1), conv(64, 192, 3), nn.MaxPool2d(3, 2, 1),
        Mixed(192, 64, (96, 128), (16, 32), 32), Mixed(256, 128, (128, 192), (32, 96), 64), nn.MaxPool2d(3, 2, 1),
        Mixed(480, 192, (96, 208), (16, 48), 64), Mixed(512, 160, (112, 224), (24, 64), 64),
        Mixed(512, 128, (128, 256), (24, 64), 64), Mixed(512, 112, (144, 288), (32, 64), 64),
        Mixed(528, 256, (160, 320), (32, 128), 128), nn.MaxPool2d(3, 2, 1),
        Mixed(832, 256, (160, 320), (32, 128), 128), Mixed(832, 384, (192, 384), (48, 128), 128), head(1024),
    )  # fmt: skip


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al. 2016)."""

    def __init__(self, taken: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = conv(taken, squeeze, 1), conv(squeeze, expand, 1), conv(squeeze, expand, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Narrow, then wide two ways."""
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2), Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2),
        Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2), Fire(256, 48, 192), Fire(384, 48, 192),
        Fire(384, 64, 256), Fire(512, 64, 256), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 without its weights."""
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - the extra 'demo' has it

    module: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return module


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "alexnet": alexnet,
    "efficientnet-lite0": efficientnet_lite0,
    "googlenet": googlenet,
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": mobilenet_v2,
    "resnet18": resnet18,
    "squeezenet-1.1": squeezenet,
    "vgg11": vgg11,
}
