"""The run folder: everything a run needs to go on as if it had never stopped. Safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from streamhead.errors import CheckpointError

__all__ = ["Ema", "RunFolder"]


class Ema:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the module; early on the average is short, so that the random start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1.0 - decay)
            else:
                self.values[name].copy_(value)


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``state.safetensors``, ``log.csv``, TensorBoard events and sample strips."""

    path: Path

    @property
    def state(self) -> Path:
        """The file a run resumes from."""
        return self.path / "state.safetensors"

    def save(self, model: nn.Module, ema: Ema, optimiser: Optimizer, step: int, seconds: float = 0.0) -> None:
        """Write the state and the wall time it took; a crash while writing leaves the last one whole."""
        tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in model.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in ema.values.items()}
        numbers: dict[str, Any] = {}
        for index, slots in optimiser.state_dict()["state"].items():
            for key, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser/{index}/{key}"] = value
                else:
                    numbers[f"{index}/{key}"] = value
        self.path.mkdir(parents=True, exist_ok=True)
        fresh = self.state.with_suffix(".new")
        metadata = {"step": str(step), "seconds": f"{seconds:.3f}", "optimiser": json.dumps(numbers)}
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, fresh, metadata)
        os.replace(fresh, self.state)

    @property
    def seconds(self) -> float:
        """Wall time that went into the state so far; 0 where there is none."""
        if not self.state.is_file():
            return 0.0
        with safe_open(self.state, "pt") as file:
            return float(file.metadata().get("seconds", 0.0))

    def load(self, model: nn.Module, ema: Ema, optimiser: Optimizer) -> int:
        """Restore everything; returns the next step.

        Raises:
            CheckpointError: the file does not fit this configuration.
        """
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimiser": {}}
        with safe_open(self.state, "pt") as file:
            metadata = file.metadata()
            for name in file.keys():  # noqa: SIM118 - not a mapping
                group, _, key = name.partition("/")
                groups[group][key] = file.get_tensor(name)
        try:
            model.load_state_dict(groups["model"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.state} is of another network than the config's; give another --out folder"
            ) from error
        ema.values = groups["ema"]
        slots: dict[int, dict[str, Any]] = {}
        for name, tensor in groups["optimiser"].items():
            index, key = name.split("/")
            slots.setdefault(int(index), {})[key] = tensor
        for name, value in json.loads(metadata["optimiser"]).items():
            index, key = name.split("/")
            slots.setdefault(int(index), {})[key] = value
        state = optimiser.state_dict()
        state["state"] = slots
        optimiser.load_state_dict(state)
        return int(metadata["step"])
