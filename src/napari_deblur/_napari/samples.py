"""Pictures to try things on: a real stack, and a simulated one of which the truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur._napari.showing import LayerData

__all__ = ["chromosomes", "embryo", "simulated", "spots"]

PIXEL = 0.1  # µm
SIGMA = 0.2  # µm
CREDITS = {
    "arabidopsis_embryo": "CC BY 4.0, J. Moukhtar and others, doi:10.1371/journal.pcbi.1006771",
    "chromosomes": "CC BY 4.0, NEUBIAS training resources",
}


def chromosomes() -> list[LayerData]:
    """Open the bundled stack of chromosomes: blurred and noisy."""
    return _bundled("chromosomes", "chromosomes")


def embryo() -> list[LayerData]:
    """Open the bundled embryo; where it comes from is in data/README.md."""
    return _bundled("arabidopsis_embryo", "embryo")


def _bundled(file: str, name: str) -> list[LayerData]:
    import tifffile

    from napari_deblur.data import sample_path
    from napari_deblur.opening import open_stack

    size = [v or 1.0 for v in open_stack(sample_path(file)).pixel_size or (1.0, 1.0, 1.0)]
    kwargs = {
        "name": name,
        "scale": tuple(size),
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": (0.0, 255.0),
        "metadata": {"licence": CREDITS[file]},
    }
    return [(tifffile.imread(sample_path(file)), kwargs, "image")]


def spots() -> list[LayerData]:
    """Make the blurred picture and the truth behind it (hidden), always the same."""
    blurred, sharp = simulated()
    placed = {"scale": (PIXEL, PIXEL), "units": ("um", "um"), "axis_labels": ("y", "x")}
    top = float(np.percentile(blurred, 99.9))
    return [
        (sharp, {"name": "truth", "visible": False, "contrast_limits": (0.0, 4 * top), **placed},
         "image"),
        (blurred, {"name": "spots", "contrast_limits": (float(blurred.min()), top), **placed},
         "image"),
    ]  # fmt: skip


def simulated(size: int = 256) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Draw filaments and spots, blur them by a Gaussian and count photons.

    Returns
    -------
    blurred (y, x), uint16, with 100 counts of background; sharp (y, x), float32
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(7)
    sharp = np.zeros((size, size), np.float32)
    for _ in range(14):
        y, x = random.uniform(0.05, 0.95, 2) * size
        angle, bend = random.uniform(0, 2 * np.pi), random.normal(0, 0.008)
        for _ in range(size):
            y, x, angle = y + np.sin(angle), x + np.cos(angle), angle + bend
            if not (0 <= y < size and 0 <= x < size):
                break
            sharp[int(y), int(x)] += 900
    at = random.integers(8, size - 8, (40, 2))
    sharp[at[:, 0], at[:, 1]] += random.uniform(4000, 16000, 40).astype(np.float32)
    light = gaussian_filter(sharp, SIGMA / PIXEL, mode="constant")
    blurred = random.poisson(light + 20) + random.normal(80, 2, light.shape)
    return np.clip(np.round(blurred), 0, 65535).astype(np.uint16), sharp
