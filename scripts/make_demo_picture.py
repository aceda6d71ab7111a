#!/usr/bin/env python3
"""Make docs/images/demo.png, the README's picture: moments of the default portrait speaking the default clip.

.venv/bin/python scripts/make_demo_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import streamhead
from streamhead.assets import default_speech
from streamhead.face.align import MOUTH
from streamhead.output.disclosure import png_labels

MOMENTS = 5
SIDE = 400
TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "demo.png"


def main() -> None:
    """Pick moments in which the mouth differs most from rest and from each other."""
    head = streamhead.load(device="cpu")
    small = [frame.image for frame in head.render(default_speech(), seed=1, view="face")]
    mouths = np.stack([image[MOUTH].astype(np.float32).ravel() for image in small])
    chosen = [0]
    while len(chosen) < MOMENTS:  # farthest-point sampling from the mouth at rest
        nearest = np.min([np.abs(mouths - mouths[index]).mean(1) for index in chosen], axis=0)
        chosen.append(int(nearest.argmax()))
    wanted = sorted(chosen)
    tiles = []
    for index, frame in enumerate(head.render(default_speech(), seed=1, size=(1280, 720))):
        if index in wanted:
            width = frame.image.shape[1]
            tile = Image.fromarray(frame.image[40:600, width // 2 - 280 : width // 2 + 280])
            tiles.append(np.asarray(tile.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(tiles, axis=1)).save(TARGET, optimize=True, pnginfo=png_labels())
    print(f"{TARGET}: frames {wanted}")


if __name__ == "__main__":
    main()
