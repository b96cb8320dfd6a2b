"""One rival in a process of its own: commands come in, and times go out, as lines of JSON.

``python -m napari_deblur.bench.worker`` is started by `children`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

__all__ = ["following", "main", "of_runs", "task"]

LINUX_PEAK = Path("/proc/self/clear_refs")


def main() -> None:
    """Obey commands until there are no more."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    run: Callable[[int], Any] | None = None
    for line in sys.stdin:
        command = json.loads(line)
        what = command.pop("do")
        try:
            if what == "prepare":
                run = prepared(command)
                answer: dict[str, Any] = {}
            elif what == "memory":
                answer = memory(command)
            elif what in ("large", "plan", "restore", "sending", "begun", "alone"):
                answer = of_runs(what, command)
            else:
                assert run is not None
                answer = timed(run, command["iterations"], command["device"])
        except Exception as error:  # noqa: BLE001 - other people's code may raise anything
            answer = {"missing": _said(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def of_runs(what: str, command: dict[str, Any]) -> dict[str, Any]:
    """Measure what has to do with whole runs."""
    from napari_deblur.bench import chunked, large, overhead

    steps: dict[str, Callable[..., dict[str, Any]]] = {
        "large": large.measured, "plan": chunked.planned, "restore": chunked.measured,
        "sending": overhead.sending, "begun": overhead.begun, "alone": overhead.alone,
    }  # fmt: skip
    return steps[what](**command)


def task(shape: list[int], kernel: list[int], threads: int, device: str) -> Any:
    """Make an image of random counts and a Gaussian kernel, with no other array alive."""
    from napari_deblur.bench.baselines import Task
    from napari_deblur.bench.kernels import gaussian

    random = np.random.default_rng(0)
    image = random.standard_exponential(shape, dtype=np.float32)
    image *= 90
    image += 10
    blur = gaussian(tuple(kernel), tuple(max(n / 10, 0.8) for n in kernel))
    return Task(image, np.array(blur), threads, device)


def prepared(command: dict[str, Any]) -> Callable[[int], Any]:
    """Make the function that does some iterations."""
    import torch

    from napari_deblur.bench.rivals import RIVALS

    torch.set_num_threads(command["threads"])
    rival = RIVALS[command.pop("rival")]
    return rival.prepare(task(**command))


def timed(run: Callable[[int], Any], iterations: int, device: str) -> dict[str, float]:
    """Give the seconds that some iterations take, and the CPU's, programs started included."""
    wait = _waiting(device)
    before, start = _processor(), perf_counter()
    run(iterations)
    wait()
    return {"wall": perf_counter() - start, "cpu": _processor() - before}


def memory(command: dict[str, Any]) -> dict[str, int]:
    """Give what a few iterations need above what the process held before, in bytes.

    The image and the kernel are part of it. The libraries are not: a small run loads them.
    """
    iterations = command.pop("iterations")
    small = [9] * len(command["shape"])
    prepared({**command, "shape": [16] * len(small), "kernel": small})(iterations)
    gc.collect()
    before = psutil.Process().memory_info().rss
    with following() as peak:
        prepared(command)(iterations)
    return {"bytes": max(peak[0] - before, _children())}


@contextmanager
def following() -> Iterator[list[int]]:
    """Follow the resident memory; afterwards the list holds its peak in bytes."""
    found, me = [0], psutil.Process()
    if LINUX_PEAK.exists():
        LINUX_PEAK.write_text("5")  # the kernel begins a new peak
        yield found
        status = Path("/proc/self/status").read_text()
        found[0] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            found[0] = max(found[0], me.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield found
    done.set()
    watcher.join()


def _children() -> int:
    """Give the peak of programs that were started, where the system says it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _waiting(device: str) -> Callable[[], None]:
    """Give what waits until the device has done its work."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.synchronize
    return lambda: None


def _said(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "not installed" if error.name is None else f"not installed ({error.name})"
    from napari_deblur.bench.entrants import Missing

    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if isinstance(error, Missing) else f"failed: {text}"


if __name__ == "__main__":
    main()
