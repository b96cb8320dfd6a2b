"""Devices: which there are, what is free on them, and one tile at a time on each.

A second tile would wait for a device anyway, and need its own memory. Within a process a lock sees
to that. Processes may share a GPU too, as workers or parts on one machine do that has one: they
lock a file for each GPU, which goes when a process dies, and keep nothing there after their turn.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

__all__ = [
    "alone_on",
    "among_processes",
    "chosen_device",
    "free_memory",
    "give_back",
    "is_here",
    "offered",
    "take_turn",
]

# Plans of transforms that torch keeps on a GPU: a run needs a few. By itself it keeps thousands.
KEPT = 16

_within: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_among = threading.Event()


def chosen_device(device: str) -> str:
    """Choose CUDA for "auto" where there is one, else the CPU; check what was asked for.

    Raises
    ------
    ValueError
        When there is no such device here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if not count.get(kind, 0):
        having = ", ".join(name for name, many in count.items() if many)
        raise ValueError(f'there is no device "{device}" here: take auto or one of {having}')
    if ":" in device and not (number.isdecimal() and int(number) < count[kind]):
        there = f"{kind}:0" + (f" to {kind}:{count[kind] - 1}" if count[kind] > 1 else "")
        raise ValueError(f'there is no device "{device}" here: take {kind} or {there}')
    return device


def is_here(device: str) -> bool:
    """Tell whether there is such a device on this machine."""
    try:
        chosen_device(device)
    except ValueError:
        return False
    return True


def free_memory(device: str) -> int:
    """Give the bytes that are free on a GPU, what this process no longer uses included."""
    import torch

    give_back(device)
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def offered() -> int | None:
    """Give the bytes that are free on this process's GPU; None where there is none."""
    import torch

    return free_memory("cuda") if torch.cuda.is_available() else None


def give_back(device: str) -> None:
    """Return to a GPU what this process has freed there and torch holds on to."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def among_processes() -> None:
    """Let this process wait for others of this kind and user too, from now on."""
    _among.set()


@contextmanager
def alone_on(device: str) -> Iterator[None]:
    """Wait until no other tile is on a device, and hold it.

    What lives on the device must be gone at the end, where other processes are to have its room.
    """
    with ExitStack() as held:
        held.enter_context(_within[device])
        if device.startswith("cuda"):
            _keep_few_plans(device)
            if _among.is_set():
                held.enter_context(_file_of(_name(device)))
                held.callback(give_back, device)
        yield


def take_turn(device: str, worker: object) -> None:
    """Let this thread compute on one of a machine's GPUs, in turn by the number of its worker.

    Workers that were not numbered, such as those of dask-cuda, see the GPU that they are to take.
    """
    if device != "cuda" or not isinstance(worker, int):
        return
    import torch

    if count := torch.cuda.device_count():  # what is made of tiles needs none
        torch.cuda.set_device(worker % count)


@lru_cache(maxsize=8)
def _keep_few_plans(device: str) -> None:
    import torch

    number = torch.device(device).index
    cache = torch.backends.cuda.cufft_plan_cache
    cache[torch.cuda.current_device() if number is None else number].max_size = KEPT


@lru_cache(maxsize=8)
def _name(device: str) -> str:
    """Name a GPU as all processes do, whatever number CUDA_VISIBLE_DEVICES gives it here."""
    import torch

    return str(torch.cuda.get_device_properties(torch.device(device)).uuid)


@contextmanager
def _file_of(name: str) -> Iterator[None]:
    from filelock import FileLock

    user = os.getuid() if hasattr(os, "getuid") else ""
    with FileLock(Path(tempfile.gettempdir(), f"napari-deblur-{user}-{name}.lock")):
        yield
