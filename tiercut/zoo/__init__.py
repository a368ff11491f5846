"""Models with published weights, ready to export. How they become bundles is in `authoring`.

``imagenet_labels.txt`` holds the 1000 class names of ImageNet-1k in the order of its indices, one per line. They are
``_IMAGENET_CATEGORIES`` of torchvision 0.29 (``torchvision/models/_meta.py``), Copyright (c) Soumith Chintala 2016,
BSD 3-Clause License, https://github.com/pytorch/vision/blob/main/LICENSE.
"""

from __future__ import annotations

from importlib import resources


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names, in the order of the classes."""
    text = resources.files(__name__).joinpath("imagenet_labels.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
