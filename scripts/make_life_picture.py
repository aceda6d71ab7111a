#!/usr/bin/env python3
"""Make docs/images/life.jpg, a blink of the default portrait, and print what motion costs.

.venv/bin/python scripts/make_life_picture.py
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import thread_time

import numpy as np
import torch
from PIL import Image

import streamhead
from streamhead.assets import default_speech
from streamhead.face.compositor import Compositor
from streamhead.face.portrait import Portrait
from streamhead.face.pose import Pose
from streamhead.model.face_update import FaceUpdate

SEED = 1
BLINK = range(20, 28)
"""Frames of the first blink of that seed."""
TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "life.jpg"
POSES = {
    "still": None,
    "moving": Pose(1.0, (1.0, 1.0), (1.0, 1.0)),
    "in a blink": Pose(1.0, (1.0, 1.0), (1.0, 1.0), 0.9),
}


def main() -> None:
    """One picture, six figures."""
    torch.set_num_threads(1)
    head = streamhead.load(device="cpu")
    shown = []
    for number, frame in enumerate(head.render(default_speech(), seed=SEED)):
        if number in BLINK:
            shown.append(Image.fromarray(frame.image[40:580, 420:860]).resize((220, 270), Image.Resampling.LANCZOS))
        if number == BLINK.stop:
            break
    rows = [np.concatenate([np.asarray(picture) for picture in shown[start : start + 4]], 1) for start in (0, 4)]
    Image.fromarray(np.concatenate(rows)).save(TARGET, quality=88, optimize=True)
    update = FaceUpdate.identity()
    for size in ((640, 360), (1280, 720)):
        compositor = Compositor(Portrait.default(), size)
        for name, pose in POSES.items():
            spent = []
            for _ in range(60):
                began = thread_time()
                compositor.compose(update, pose)
                spent.append(1000 * (thread_time() - began))
            print(f"{size[0]}x{size[1]} {name}: {median(spent):.1f} ms of one core a frame, at best {min(spent):.1f}")


if __name__ == "__main__":
    main()
