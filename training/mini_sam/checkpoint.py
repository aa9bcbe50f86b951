"""Checkpoints without pickle: one safetensors file of weights, their running average and the optimiser."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass
class Progress:
    """How far a stage has come. `seconds` counts only time spent training."""

    step: int = 0
    seconds: float = 0.0
    resumed: int = 0


class Average:
    """Exponential moving average of the weights: the usable model at any moment, without a cooled-down optimiser."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module, step: int) -> None:
        """Take in the weights after `step` (1, 2, ...); young averages forget faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - decay)


def save(
    path: Path, model: torch.nn.Module, average: Average, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write a checkpoint; a reader never sees a half-written one."""
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.weights.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    partial = path.with_suffix(".partial")
    copies = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(copies, partial, metadata={"progress": json.dumps(asdict(progress))})
    partial.replace(path)


def load(path: Path, model: torch.nn.Module, average: Average, optimiser: torch.optim.Optimizer) -> Progress:
    """Take up a checkpoint in place and return its progress."""
    tensors = load_file(path)
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    average.weights = {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    whole: dict[str, Any] = optimiser.state_dict()
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser/"):
            _, index, key = name.split("/")
            states.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**whole, "state": states})
    with safe_open(path, "pt") as opened:
        return Progress(**json.loads(opened.metadata()["progress"]))


def average_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, or the weights of a plain safetensors file, as float32."""
    tensors = load_file(path)
    averaged = {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    return {name: value.float() for name, value in (averaged or tensors).items()}
