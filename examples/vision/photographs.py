"""Copy the photographs that PyPI's ``scikit-image`` ships to a folder, as JPEG: what a camera would have seen.

python -m examples.vision.photographs --out recordings/photographs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from tiercut.cli.demo_site import photographs


def copy(out: Path) -> list[Path]:
    """Write them, and say where."""
    out.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in photographs():
        copies.append(out / f"{path.stem}.jpg")
        with Image.open(path) as image:
            image.convert("RGB").save(copies[-1], quality=90)
    return copies


def main() -> None:
    """Copy them."""
    parser = argparse.ArgumentParser(description="copy photographs to a folder, as JPEG")
    parser.add_argument("--out", type=Path, default=Path("recordings/photographs"))
    for path in copy(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
