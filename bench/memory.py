"""Peak memory of a run over a stack ten times larger than the memory it was allowed.

``python bench/memory.py FOLDER [--memory 40MB] [--times 10]``: writes a zarr of random counts into
FOLDER, deblurs it with Richardson-Lucy in a process of its own, and prints that process's peak
above what it held before the first tile. Linux and macOS.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

CHILD = """
import json, sys, threading, time
import psutil
import napari_deblur as nd
from napari_deblur.batch import run
from napari_deblur.psfs.gaussian import Gaussian

source, output, memory = sys.argv[1], sys.argv[2], int(sys.argv[3])
kernel = Gaussian((0.8, 1.2, 1.2))((5, 9, 9), (1.0, 1.0, 1.0))
method = nd.methods["richardson-lucy"](iterations=5)
small = nd.open_stack(source).selected(region=((0, 32), (0, 64), (0, 64)))
warm = nd.plan(small, method, kernel=kernel)
nd.deconvolve(warm).compute(scheduler="synchronous")
me, peak, stop = psutil.Process(), [0], threading.Event()

def watch():
    while not stop.wait(0.005):
        peak[0] = max(peak[0], me.memory_info().rss)

base = me.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
begun = time.perf_counter()
plan = nd.plan(source, method, kernel=kernel, memory=memory)
planned = time.perf_counter()
after_plan = peak[0]
peak[0] = 0
for progress in run(plan, output, overwrite=True): pass
stop.set()
print(json.dumps({"tiles": len(plan), "core": plan.grid.core, "halo": plan.grid.halo,
    "planned bytes": plan.memory, "base": base, "planning peak": after_plan - base,
    "running peak": peak[0] - base, "planning s": planned - begun,
    "running s": time.perf_counter() - planned, "complete": progress.phase}))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--memory", type=int, default=40, help="MB that one task may use")
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args()
    import zarr

    depth = 64
    side = int((asked.memory * 1e6 * asked.times / 2 / depth) ** 0.5) // 64 * 64 + 64
    source = asked.folder / "large.zarr"
    array = zarr.create_array(
        str(source),
        shape=(depth, side, side),
        chunks=(32, 64, 64),
        dtype="u2",
        dimension_names=["z", "y", "x"],
        overwrite=True,
    )
    random = np.random.default_rng(0)
    for y in range(0, side, 64):
        light = np.full((depth, 64, side), 20.0)
        for _ in range(light.size // 20_000):  # cubes of light, so that there is a halo to find
            a, b, c = (int(random.integers(0, n - 3)) for n in light.shape)
            light[a : a + 3, b : b + 3, c : c + 3] = 1000
        array[:, y : y + 64] = random.poisson(light)
    print(f"stack {array.shape} uint16, {array.nbytes / 1e6:.0f} MB; allowed {asked.memory} MB")
    output = asked.folder / "large.deblur.zarr"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(output), str(asked.memory * 10**6)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for name, value in json.loads(done.stdout).items():
        shown = value
        if name in ("planned bytes", "base", "planning peak", "running peak"):
            shown = f"{value / 1e6:.0f} MB"
        print(f"  {name:14} {shown}")


if __name__ == "__main__":
    main()
