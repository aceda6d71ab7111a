"""Where the networks run: the one place that tells a processor from an accelerator."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamhead.errors import DeviceError

__all__ = ["Device"]


class Device:
    """A torch device, the precision it draws in, and the ways to it and back.

    Args:
        name: ``auto`` (cuda, then mps, then cpu) or a torch device name.

    Raises:
        DeviceError: no such device here.
    """

    def __init__(self, name: str = "auto") -> None:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            self.torch = torch.device(name)
            torch.zeros(1, device=self.torch)
        except (RuntimeError, AssertionError) as error:
            raise DeviceError(f"device {name!r} cannot be used here; pass --device cpu (or auto)") from error

    @property
    def drawing_dtype(self) -> torch.dtype:
        """What the decoder computes in: half the width on a GPU, else float32.

        The recurrent nets stay in float32 everywhere: their errors would add up, the decoder's are gone with the frame.
        On processors bfloat16 is a gamble: of two that both have the instructions for it, one drew a frame in two
        thirds of float32's time, the other in one and a half times of it.
        """
        return torch.float16 if self.torch.type == "cuda" else torch.float32

    def send(self, array: NDArray[np.float32]) -> Tensor:
        """To the device, through pinned memory where that lets the copy run beside other work."""
        tensor = torch.from_numpy(array)
        if self.torch.type == "cuda":
            return tensor.pin_memory().to(self.torch, non_blocking=True)
        return tensor.to(self.torch)

    def fetch(self, image: Tensor) -> NDArray[np.uint8]:
        """A finished uint8 frame from the device: the only thing that ever comes back."""
        if self.torch.type != "cuda":
            return image.cpu().numpy()
        host = torch.empty(image.shape, dtype=image.dtype, pin_memory=True)
        host.copy_(image, non_blocking=True)
        torch.cuda.current_stream(self.torch).synchronize()
        return host.numpy()
