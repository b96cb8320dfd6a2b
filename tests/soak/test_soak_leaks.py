"""5,000 tiles in one process: no memory, file or thread is left behind."""

import threading

import numpy as np
import psutil
import pytest
import zarr

import napari_deblur as nd
from by_hand import numbers
from napari_deblur.batch import run
from napari_deblur.opening import open_stack
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import open_result

pytestmark = pytest.mark.soak

TILES, WARM = 5000, 2500
SLOPE = 200.0  # bytes a tile


def test_5000_tiles_leave_nothing_behind(tmp_path):
    zarr.create_array(tmp_path / "raw.zarr", data=numbers((100, 80, 160)), chunks=(8, 16, 32))
    stack = open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))
    method = nd.methods["richardson-lucy"](iterations=2)
    kernel = Gaussian((0.8, 1.0, 1.0))((3, 5, 5), (1.0, 1.0, 1.0)).at()
    plan = nd.plan(stack, method, kernel=kernel, tile=(4, 8, 8), accept_seam=True)
    assert len(plan) == TILES
    process, seen = psutil.Process(), []
    for step in run(plan, tmp_path / "a.zarr"):
        if step.phase == "tiles" and step.done % 20 == 0:
            memory = process.memory_info().rss
            seen.append((step.done, memory, process.num_fds(), threading.active_count()))
    assert open_result(tmp_path / "a.zarr").complete
    tiles, memory, files, threads = np.array([s for s in seen if s[0] >= WARM]).T
    slope = np.polyfit(tiles, memory, 1)[0]
    print(
        f"{TILES} tiles: {memory[0] / 2**20:.1f} MiB at {tiles[0]}, {memory[-1] / 2**20:.1f} MiB "
        f"at the end, {slope:+.0f} bytes a tile; files {files.min()}-{files.max()}, "
        f"threads {threads.min()}-{threads.max()}"
    )
    assert slope <= SLOPE
    assert files.max() <= files[0] + 1
    assert threads.max() <= threads[0]
