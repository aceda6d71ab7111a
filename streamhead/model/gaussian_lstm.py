"""Recurrent nets with typed state: a plain LSTM stack, and one whose output is a diagonal Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Gaussian", "GaussianLSTM", "LSTMState", "RecurrentNet"]


@dataclass(frozen=True, slots=True, eq=False)
class LSTMState:
    """State of an LSTM stack: hidden and cell, each ``(B, layers, hidden)``, batch first so that rows can be moved."""

    hidden: Tensor
    cell: Tensor

    @classmethod
    def none(cls, batch: int, device: torch.device | str = "cpu") -> LSTMState:
        """The state of what has none: ``(B, 0, 0)``."""
        return cls(torch.zeros(batch, 0, 0, device=device), torch.zeros(batch, 0, 0, device=device))

    def to(self, device: torch.device | str) -> LSTMState:
        """The same state on another device."""
        return LSTMState(self.hidden.to(device), self.cell.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """A diagonal Gaussian: mean and *log variance*, each ``(..., z)``."""

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation."""
        return torch.exp(0.5 * self.logvar)

    @classmethod
    def certain(cls, value: Tensor) -> Gaussian:
        """The Gaussian of no variance: every sample of it is ``value``."""
        return cls(value, torch.full_like(value, -torch.inf))

    def sample(self, eps: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        """``mean + std * temperature * eps``: the reparameterised sample for given standard-normal noise."""
        return self.mean + self.std * temperature * eps


class RecurrentNet(nn.Module):
    """Linear embedding, then an LSTM stack (released code: embed before, heads after)."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.layers = layers
        self.hidden = hidden

    def awaken(self) -> None:
        """Initialise so that a change of the input reaches the output; PyTorch's defaults attenuate it layer by layer.

        Orthogonal recurrence, unit-gain inputs, forget gates open.
        """
        nn.init.normal_(self.embed.weight, 0.0, self.embed.in_features**-0.5)
        for name, value in self.lstm.named_parameters():
            if "weight_hh" in name:
                for gate in value.detach().chunk(4):
                    nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                nn.init.normal_(value, 0.0, self.hidden**-0.5)
            else:
                nn.init.zeros_(value)
                if "bias_ih" in name:
                    value.detach()[self.hidden : 2 * self.hidden] = 1.0

    def initial_state(self, batch: int, device: torch.device | str = "cpu") -> LSTMState:
        """Zeros: a stream that has heard and seen nothing."""
        zeros = torch.zeros(batch, self.layers, self.hidden, device=device)
        return LSTMState(zeros, zeros.clone())

    def run(self, chunk: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """``(B, T, inputs)`` and the state before it -> outputs ``(B, T, hidden)`` and the state after it."""
        if chunk.shape[1] == 1 and not torch.is_grad_enabled():
            return self._run_one(chunk[:, 0], state)
        before = (state.hidden.transpose(0, 1).contiguous(), state.cell.transpose(0, 1).contiguous())
        # The audio net learns only through what passes here, and that is small: full precision under any autocast.
        with torch.autocast(chunk.device.type, enabled=False):
            out, (hidden, cell) = self.lstm(self.embed(chunk.float()), before)
        return out, LSTMState(hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())

    def _run_one(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step without the set-up cost of the sequence kernel, which outweighs the step itself."""
        x = self.embed(x)
        hidden, cell = [], []
        for layer, weights in enumerate(self.lstm.all_weights):
            x, c = torch.lstm_cell(x, (state.hidden[:, layer], state.cell[:, layer]), *weights)
            hidden.append(x)
            cell.append(c)
        return x[:, None], LSTMState(torch.stack(hidden, 1), torch.stack(cell, 1))


class GaussianLSTM(RecurrentNet):
    """The posterior of a modality: q(z_t | x_1..x_t), paper section 3 (q(z|f) and q(z|a) of Figure 2).

    Returns the log variance itself; the released code returns sigma where its KL reads log variance. With ``certain``
    there is none: what comes out is a value, not a distribution.
    """

    def __init__(self, inputs: int, hidden: int, z_size: int, layers: int = 1, *, certain: bool = False) -> None:
        super().__init__(inputs, hidden, layers)
        self.mean = nn.Linear(hidden, z_size)
        self.logvar = None if certain else nn.Linear(hidden, z_size)

    def step(self, chunk: Tensor, state: LSTMState) -> tuple[Gaussian, LSTMState]:
        """``(B, T, inputs)`` -> a Gaussian of ``(B, T, z)`` and the state after the chunk."""
        out, state = self.run(chunk, state)
        with torch.autocast(chunk.device.type, enabled=False):
            mean = self.mean(out)
            return (Gaussian.certain(mean) if self.logvar is None else Gaussian(mean, self.logvar(out))), state
