"""One tile at a time on a device: a second one would wait for it anyway, and need its own memory.

Within a process a lock sees to that. Worker processes may share a GPU too, as several of one
machine do that has one: they lock a file for each GPU, which goes when a process dies.
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

__all__ = ["alone_on", "among_processes", "take_turn"]

_within: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_among = threading.Event()


def among_processes() -> None:
    """Let this process wait for others of this kind and user too, from now on."""
    _among.set()


@contextmanager
def alone_on(device: str) -> Iterator[None]:
    """Wait until no other tile is on a device, and hold it."""
    with ExitStack() as held:
        held.enter_context(_within[device])
        if _among.is_set() and device.startswith("cuda"):
            held.enter_context(_file_of(_name(device)))
        yield


def take_turn(device: str, worker: object) -> None:
    """Let this thread compute on one of a machine's GPUs, in turn by the number of its worker.

    Workers that were not numbered, such as those of dask-cuda, see the GPU that they are to take.
    """
    if device != "cuda" or not isinstance(worker, int):
        return
    import torch

    torch.cuda.set_device(worker % torch.cuda.device_count())


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
