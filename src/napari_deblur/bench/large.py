"""Peak memory of a run over a stack that is ten times larger than what it may use."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

__all__ = ["measured", "written"]

DEPTH = 64
BLUR, KERNEL = (0.8, 1.2, 1.2), (5, 9, 9)


def written(folder: Path, size: int) -> Path:
    """Write a zarr of about `size` bytes: cubes of light on a background, uint16."""
    import zarr

    side = max(1, round((size / 2 / DEPTH) ** 0.5 / 64)) * 64
    path, random = folder / "large.zarr", np.random.default_rng(0)
    array = zarr.create_array(
        str(path),
        shape=(DEPTH, side, side),
        chunks=(32, 64, 64),
        dtype="u2",
        dimension_names=["z", "y", "x"],
    )
    for y in range(0, side, 64):
        light = np.full((DEPTH, 64, side), 20.0)
        for _ in range(light.size // 20_000):
            a, b, c = (int(random.integers(0, n - 3)) for n in light.shape)
            light[a : a + 3, b : b + 3, c : c + 3] = 1000
        array[:, y : y + 64] = random.poisson(light)
    return path


def measured(memory: int, times: int) -> dict[str, Any]:
    """Plan and run in this process, which should be fresh; give its peaks in bytes.

    Parameters
    ----------
    memory : int
        Bytes that one task may use.
    times : int
        How much larger the stack is.
    """
    import psutil  # type: ignore[import-untyped]

    from napari_deblur.batch import run
    from napari_deblur.bench.worker import following
    from napari_deblur.lazy import deconvolve
    from napari_deblur.opening import open_stack
    from napari_deblur.planning import plan
    from napari_deblur.psfs.gaussian import Gaussian
    from napari_deblur.registry import methods

    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as name:
        source = written(Path(name), memory * times)
        kernel = Gaussian(BLUR)(KERNEL, (1.0, 1.0, 1.0))
        method = methods["richardson-lucy"](iterations=5)
        # A small piece first: it loads the libraries.
        small = open_stack(source).selected(region=((0, 32), (0, 64), (0, 64)))
        deconvolve(plan(small, method, kernel=kernel)).compute(scheduler="synchronous")
        before, start = psutil.Process().memory_info().rss, perf_counter()
        with following() as planning:
            made = plan(source, method, kernel=kernel, memory=memory)
        middle = perf_counter()
        with following() as running:
            *_, last = run(made, Path(name, "large.deblur.zarr"))
        end = perf_counter()
    return {
        "allowed": memory,
        "times larger": times,
        "tiles": len(made),
        "complete": last.phase == "complete",
        "planned": made.memory,
        "planning": planning[0] - before,
        "running": running[0] - before,
        "seconds planning": middle - start,
        "seconds running": end - middle,
    }
