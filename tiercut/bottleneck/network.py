"""The encoder and the decoder of a bottleneck, and the codec between them while they learn.

After BottleNet++ (Shao & Zhang, ICC Workshops 2020): hardly any layers on either side, as the encoder runs on the
weaker machine. In place of a simulated channel the loop holds the very codec that will carry the code.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from tiercut.bottleneck.layers import Sum, make_layers
from tiercut.bottleneck.plan import BottleneckPlan
from tiercut.codecs.table import codec
from tiercut.codecs.zstd import Zstd


class Bottleneck(nn.Module):
    """An encoder, a codec and a decoder.

    Args:
        plan: Shapes, and which codec.
        examples: Tensors of some frames, ``(frames, *rest)``: where the layers begin, and at which scale they learn.
            Where no element is negative, as behind a ReLU, none that is rebuilt is either.
    """

    scale: torch.Tensor

    def __init__(self, plan: BottleneckPlan, examples: torch.Tensor) -> None:
        super().__init__()
        size = float(examples.double().square().mean().sqrt())
        self.register_buffer("scale", torch.tensor(size or 1.0))
        self.encoder, self.decoder = make_layers(plan, examples / self.scale)
        if float(examples.min()) >= 0:
            self.decoder.append(nn.ReLU())
        inner = codec(plan.inner)
        # Without zstd, which changes no value.
        self._inner = inner.inner if isinstance(inner, Zstd) else inner
        self._code = plan.code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What comes out behind the codec; the gradient passes it as if it were not there (Bengio et al., 2013)."""
        code = self.encoder(x / self.scale)
        rebuilt: torch.Tensor = self.decoder(code + (self.coded(code.detach()) - code.detach())) * self.scale
        return rebuilt

    def coded(self, code: torch.Tensor) -> torch.Tensor:
        """Codes as they come out behind the codec, ``(frames, *rest)``; each is a message of its own."""
        arrays = code.contiguous().numpy().reshape(len(code), *self._code)
        back = [self._inner.decode(self._inner.encode(array), dtype="float32", shape=self._code) for array in arrays]
        return torch.from_numpy(np.stack(back)).reshape(code.shape)

    @torch.no_grad()
    def folded(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Encoder and decoder for tensors at their own scale: it becomes part of the first and the last weights."""
        encoder, decoder = copy.deepcopy(self.encoder), copy.deepcopy(self.decoder)
        _weighted(encoder)[0].weight.div_(self.scale)
        for branch in (branch for layer in decoder if isinstance(layer, Sum) for branch in layer):
            for parameter in _weighted(branch)[-1].parameters():
                parameter.mul_(self.scale)
        return encoder, decoder


def _weighted(layers: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in layers.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
