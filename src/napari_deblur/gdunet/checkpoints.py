"""The whole state of a training in one file, which is there either as it was or as it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

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
        When the file is of another network, damaged, or no checkpoint at all.
    """
    if not path.exists():
        return 0
    try:
        return _restored(path, state)
    except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'"{path}" is damaged, or no checkpoint of a training: remove it to begin anew, or '
            "choose another folder"
        ) from error


def _restored(path: Path, state: Checkpoint) -> int:
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
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
    """Write a file beside, force it to the disk, and put it in place at once.

    Equal tensors and facts give equal files.
    """
    beside = path.with_name(f".{path.name}.new")
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, facts)
    beside.write_bytes(_in_order(content))
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def _in_order(content: bytes) -> bytes:
    """Sort the facts in the header of a safetensors file, which come in any order."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # where tensors begin
    return len(text).to_bytes(8, "little") + text + content[8 + length :]
