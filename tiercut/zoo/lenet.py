"""A LeNet for 28 by 28 grey pixels, untrained: three convolutions of 5x5 as in BranchyNet's, somewhat wider.

BranchyNet (Teerapittayanon et al., ICPR 2016) trains one with an exit behind its first convolution on MNIST. Train it
with ``tiercut exits train``; before, it knows nothing.
"""

from __future__ import annotations

from tiercut.authoring.export import ModelSource
from tiercut.authoring.torch_source import import_torch
from tiercut.model.preprocess import FrameSpec

NAME = "lenet"
LABELS = tuple("0123456789")
#: Mean and deviation of MNIST's pixels.
FRAME = FrameSpec(size=(28, 28), channels=1, resize="stretch", mean=(33.3,), std=(78.6,))
#: Channels of the three convolutions, and numbers of the dense layer before the last (LeCun et al., 1998).
CHANNELS, DENSE = (12, 24, 48), 84


def model() -> ModelSource:
    """The model with first weights from a fixed seed: ``tiercut export`` and ``tiercut exits train`` take this.

    Raises:
        ExportError: torch is not installed.
    """
    torch = import_torch()
    nn = torch.nn
    layers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for before, channels in zip((1, *CHANNELS), CHANNELS, strict=False):
            layers += [nn.Conv2d(before, channels, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(CHANNELS[-1] * 3 * 3, DENSE), nn.ReLU(), nn.Linear(DENSE, len(LABELS))]
        module = nn.Sequential(*layers)
    return ModelSource(module=module, name=NAME, labels=LABELS, preprocess=FRAME)
