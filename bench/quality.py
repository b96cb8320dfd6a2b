"""What Richardson-Lucy and its blind kin make of two stacks whose answer is known.

``python bench/quality.py FOLDER`` where FOLDER holds ``bars_epfl_25pct`` (ground_truth.tif,
image.tif, psf.tif; from flowdec) and ``grid_confocal`` (image.tif, psf.tif; CC BY 4.0, acquired
by B. Nitzsche and R. Haase, MPI-CBG).
"""

import sys
from pathlib import Path

import numpy as np

import napari_deblur as nd
from napari_deblur.kernels import load_kernel


def restored(stack, method, **asked):
    plan = nd.plan(stack, method, **asked)
    return plan, nd.deconvolve(plan, stack).compute(scheduler="synchronous")


def agreement(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def contrast(volume):
    """Michelson contrast of the vertical grid's mean profile, 90th against 10th percentile."""
    profile = volume.mean(axis=(0, 1))
    low, high = np.percentile(profile, (10, 90))
    return float((high - low) / (high + low))


def main():
    folder = Path(sys.argv[1])
    bars, grid = folder / "bars_epfl_25pct", folder / "grid_confocal"
    truth = np.asarray(nd.open_stack(bars / "ground_truth.tif", "zyx").data)
    stack = nd.open_stack(bars / "image.tif", "zyx")
    print("bars_epfl_25pct, correlation with the truth")
    print(f"  before                            {agreement(np.asarray(stack.data), truth):.3f}")
    kernel = load_kernel(bars / "psf.tif")
    for iterations in (30, 50, 100):
        method = nd.methods["richardson-lucy"](iterations=iterations)
        _, image = restored(stack, method, kernel=kernel)
        print(f"  richardson-lucy, {iterations:3} iterations   {agreement(image, truth):.3f}")
    for shape in ((15, 15, 15), (31, 31, 31)):
        plan, image = restored(stack, nd.methods["blind-richardson-lucy"](), shape=shape)
        print(f"  blind-richardson-lucy, {shape}  {agreement(image, truth):.3f}")
        plan, image = restored(stack, nd.methods["wiener"](), kernel=plan.kernel)
        print(f"  … its kernel with wiener               {agreement(image, truth):.3f}")
    size = (0.125, 0.022, 0.022)
    stack = nd.open_stack(grid / "image.tif", "zyx", pixel_size=size)
    print("grid_confocal, line contrast (background included / left out)")
    seen = np.asarray(stack.data, dtype=np.float32)
    print(f"  before                            {contrast(seen):.3f}")
    kernel = load_kernel(grid / "psf.tif", pixel_size=size)
    for iterations in (20, 30):
        for name, asked in (
            ("richardson-lucy, measured PSF", {"method": "richardson-lucy", "kernel": kernel}),
            ("blind, (15, 31, 31)", {"method": "blind-richardson-lucy", "shape": (15, 31, 31)}),
        ):
            method = nd.methods[asked.pop("method")](iterations=iterations)
            plan, image = restored(stack, method, **asked)
            dark = plan.channels[0].facts.background
            print(
                f"  {name:30} {iterations} iterations {contrast(image):.3f} / "
                f"{contrast(image - dark):.3f}; background {dark:.2f}"
            )


if __name__ == "__main__":
    main()
