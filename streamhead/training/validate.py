"""A quick look at held-out clips while training: what the sound alone draws, in numbers and as a strip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from streamhead.audio.features import extract, feature_spec, patches
from streamhead.audio.level import TARGET_DB
from streamhead.face.align import MOUTH
from streamhead.model.network import Network
from streamhead.timebase import HOP
from streamhead.training.batches import Clip

__all__ = ["draw_clip", "save_strip", "score"]


def _patches(network: Network, clip: Clip) -> Tensor:
    spec = feature_spec(network.config.features, network.config.look_ahead)
    count = len(clip.frames)
    sound = np.zeros((count + spec.look_ahead + 1) * HOP, np.float32)
    body = clip.audio[: count * HOP]
    sound[: len(body)] = body
    rows = extract(sound, spec)
    loud = np.repeat(clip.speech, HOP)[: len(body)]
    if spec.kind == "log-mel" and loud.any():
        gain_db = TARGET_DB - 20 * np.log10(max(float(np.sqrt(np.mean(body[: len(loud)][loud] ** 2))), 1e-5))
        rows = spec.amplify(rows, gain_db * np.log(10.0) / 10.0)
    out = patches(rows, spec, 0, count)
    return torch.from_numpy(np.where(clip.speech[:, None, None], out, spec.silence_row()).astype(np.float32))


@torch.no_grad()
def draw_clip(network: Network, clip: Clip, sound: Clip | None = None) -> NDArray[np.uint8]:
    """Frames ``(T, 128, 128, 3)`` drawn from a clip's first frame and a clip's sound, temperature 0."""
    device = next(network.parameters()).device
    square = torch.from_numpy(np.array(clip.frames[0])).permute(2, 0, 1)[None].float().to(device) / 255.0
    reference = network.encode_reference(square)
    state = network.initial_state(reference)
    heard = _patches(network, sound or clip).to(device)
    eps = torch.zeros(1, network.config.z_size, device=device)
    out = []
    for patch in heard:
        code, _, state = network.step(patch[None], eps, 0.0, state)
        update = network.decode(code, reference)
        if network.feeds_back:
            state = network.feed_back(update, reference, state)
        out.append(update.apply(square)[0])
    images = (torch.stack(out).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return images.cpu().numpy()


def _psnr(error: NDArray[np.float64]) -> float:
    return float(np.mean(-10 * np.log10(np.maximum(error.mean(axis=(1, 2, 3)), 1e-10))))


def score(real: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> tuple[float, float]:
    """PSNR of the square and of the mouth region, dB a frame, mean over frames 2..N."""
    count = min(len(real), len(drawn))
    error = ((real[1:count].astype(np.float64) - drawn[1:count]) / 255.0) ** 2
    return _psnr(error), _psnr(error[:, *MOUTH])


def save_strip(path: Path, real: NDArray[np.uint8], drawn: NDArray[np.uint8], count: int = 12) -> None:
    """A PNG of ``count`` frames, real above generated."""
    index = np.linspace(0, min(len(real), len(drawn)) - 1, count).astype(int)
    rows = [np.concatenate(list(np.asarray(frames)[index]), axis=1) for frames in (real, drawn)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
