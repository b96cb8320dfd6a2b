"""The whole state of a training in one file, which is there either as it was or as it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_deblur.gdunet.network import Network

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "save_tensors"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a training changes, and its settings.

    Batches are functions of their number: there is no state of a random generator.
    """

    network: Network
    average: Network
    optimiser: torch.optim.Optimizer
    settings: dict[str, Any]


def save_checkpoint(path: Path, state: Checkpoint, iteration: int) -> None:
    """Write weights, their average, and the optimiser's moments."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in state.network.named_parameters():
        tensors[f"weights/{name}"] = parameter
        for key, value in state.optimiser.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value
    for name, parameter in state.average.named_parameters():
        tensors[f"average/{name}"] = parameter
    facts = {"iteration": str(iteration), "settings": json.dumps(state.settings)}
    save_tensors(path, tensors, facts)


def load_checkpoint(path: Path, state: Checkpoint) -> int:
    """Restore what `save_checkpoint` wrote; give its iteration, or 0 if there is no file.

    Raises
    ------
    ValueError
        When the file is of another network.
    """
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        saved = json.loads(facts["settings"])
        for name in ("configuration", "without", "kernel_step"):
            if list(saved.get(name, state.settings[name])) != list(state.settings[name]):
                raise ValueError(
                    f"{path.name} is of a network with {name}={saved[name]!r}, asked for is "
                    f"{state.settings[name]!r}: choose another folder"
                )
        keys = set(file.keys())
        with torch.no_grad():
            for name, parameter in state.network.named_parameters():
                parameter.copy_(file.get_tensor(f"weights/{name}"))
                moments = {
                    key: file.get_tensor(f"{key}/{name}")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}/{name}" in keys
                }
                state.optimiser.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device)
                    for key, value in moments.items()
                }
            for name, parameter in state.average.named_parameters():
                parameter.copy_(file.get_tensor(f"average/{name}"))
    return int(facts["iteration"])


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Write a file beside, force it to the disk, and put it in place at once."""
    beside = path.with_name(f".{path.name}.new")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside, facts)
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.chmod(0o644)  # it was made for its owner only
    beside.replace(path)
