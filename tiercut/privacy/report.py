"""What attacks on a bundle found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tiercut.privacy.image_similarity import ImageSimilarity, Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leak:
    """How well frames are rebuilt from what crosses the wire at one cut.

    Attributes:
        cut: The cut.
        bytes: What a frame's tensors take on the wire, mean over held-back frames.
        trained: Whether that took an attacker; else the frame itself crosses the wire, and nothing rebuilds it better.
        similarity: Of rebuilt and held-back frames.
        shown: The first few rebuilt, ``(frames, height, width, channels)``.
    """

    cut: int
    bytes: float
    trained: bool
    similarity: ImageSimilarity
    shown: Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrivacyReport:
    """What was measured.

    Attributes:
        model: Identity of the bundle.
        model_name: Its name.
        codec: What the tensors travelled in.
        size: Height and width at which frames were compared.
        frames: On how many frames each attacker was trained.
        held_back: On how many others they were compared.
        epochs: How long each attacker was trained.
        mean_image: What the mean of the attacker's frames scores.
        jpeg: What the frames as coarse JPEG score.
        leaks: One per cut.
        originals: The first held-back frames.
    """

    model: str
    model_name: str
    codec: str
    size: tuple[int, int]
    frames: int
    held_back: int
    epochs: int
    mean_image: ImageSimilarity
    jpeg: ImageSimilarity
    leaks: tuple[Leak, ...]
    originals: Pixels


def to_document(report: PrivacyReport) -> dict[str, Any]:
    """All figures, as JSON has them."""
    return {
        "model": report.model,
        "model_name": report.model_name,
        "codec": report.codec,
        "size": list(report.size),
        "frames": report.frames,
        "held_back": report.held_back,
        "epochs": report.epochs,
        "mean_image": asdict(report.mean_image),
        "jpeg": asdict(report.jpeg),
        "cuts": [
            {"cut": leak.cut, "bytes": round(leak.bytes, 1), "trained": leak.trained, **asdict(leak.similarity)}
            for leak in report.leaks
        ],
    }
