"""An AlexNet for 28 by 28 grey pixels, untrained: five convolutions and three dense layers, four places for exits.

As in AlexNet (Krizhevsky et al., 2012) the first kernels are the largest, pooling overlaps, and the last three
convolutions follow one another. Biases start at 0 and weights as He et al. (2015) set them, so that it trains without
normalisation. Train it with ``tiercut exits train``; before, it knows nothing.
"""

from __future__ import annotations

from tiercut.authoring.export import ModelSource
from tiercut.authoring.torch_source import import_torch
from tiercut.model.preprocess import FrameSpec

NAME = "alexnet"
#: Fashion-MNIST's (Xiao et al., 2017).
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
#: Mean and deviation of Fashion-MNIST's pixels.
FRAME = FrameSpec(size=(28, 28), channels=1, resize="stretch", mean=(72.9,), std=(90.0,))
#: Channels, kernel, and whether pooling follows.
CONVOLUTIONS = ((32, 5, True), (64, 3, False), (64, 3, True), (128, 3, False), (128, 3, True))
DENSE = 256


def model() -> ModelSource:
    """The model with first weights from a fixed seed: ``tiercut export`` and ``tiercut exits train`` take this.

    Raises:
        ExportError: torch is not installed.
    """
    torch = import_torch()
    nn = torch.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers, before = [], FRAME.channels
        for channels, kernel, pooled in CONVOLUTIONS:
            layers += [nn.Conv2d(before, channels, kernel, padding=kernel // 2), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2, padding=1)] if pooled else []
            before = channels
        layers += [nn.Flatten(), nn.Linear(before * 4 * 4, DENSE), nn.ReLU(), nn.Linear(DENSE, DENSE), nn.ReLU()]
        module = nn.Sequential(*layers, nn.Linear(DENSE, len(LABELS)))
        for layer in module:
            if hasattr(layer, "weight"):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.xavier_normal_(module[-1].weight)
    return ModelSource(module=module, name=NAME, labels=LABELS, preprocess=FRAME)
