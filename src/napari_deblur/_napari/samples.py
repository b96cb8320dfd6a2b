"""Pictures to try things on: real ones, and made ones of which the truth is known.

Each has a sentence on what to try in ``metadata["try"]``; what blurred it, where that is known,
in ``metadata["truth"]``, and what is known of the lens in ``metadata["optics"]``, lengths in µm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari import made_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur._napari.showing import LayerData

__all__ = [
    "bead_stack",
    "chromosomes",
    "embryo",
    "movie",
    "photo",
    "simulated",
    "spots",
    "tilted",
]

PIXEL = 0.1  # µm
SIGMA = 0.2  # µm
# Wavelengths (µm) of the movie's channels; their blur is the Gaussian nearest to that of a lens of
# this numerical aperture (Zhang, Zerubia, Olivo-Marin, doi:10.1364/AO.46.001819).
WAVELENGTHS, NA = (0.525, 0.670), 0.9
SIGMAS = tuple(0.21 * wavelength / NA for wavelength in WAVELENGTHS)
CREDITS = {
    "arabidopsis_embryo": "CC BY 4.0, J. Moukhtar and others, doi:10.1371/journal.pcbi.1006771",
    "chromosomes": "CC BY 4.0, NEUBIAS training resources",
}
# Voxels (z, y, x), µm, as the files say: opening them as stacks takes longer than reading them.
SIZES = {
    "arabidopsis_embryo": (0.345, 0.345, 0.345),
    "chromosomes": (0.15, 0.0339, 0.0339),
}
FRAME = 2.0  # s


def chromosomes() -> list[LayerData]:
    """Open the bundled stack of chromosomes: blurred and noisy."""
    return _bundled(
        "chromosomes",
        "chromosomes",
        "Press Run: the blur is found; then open Kernel inspector and compare its widths with "
        "those of a confocal microscope.",
    )


def embryo() -> list[LayerData]:
    """Open the bundled embryo; where it comes from is in data/README.md."""
    return _bundled(
        "arabidopsis_embryo",
        "embryo",
        "Press Preview and read what is said of the kernel: the image was resampled, neighbouring "
        "pixels share their noise, so it is doubted.",
    )


def _bundled(file: str, name: str, hint: str) -> list[LayerData]:
    import tifffile

    from napari_deblur.data import sample_path

    kwargs = {
        "name": name,
        "scale": SIZES[file],
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": (0.0, 255.0),
        "metadata": {"licence": CREDITS[file], "try": hint},
    }
    return [(tifffile.imread(sample_path(file)), kwargs, "image")]


def spots() -> list[LayerData]:
    """Make filaments and spots, blurred by a Gaussian; the sharp ones are hidden."""
    blurred, sharp = simulated()
    return _with_truth(
        "spots",
        blurred,
        sharp,
        "yx",
        f"Press Run, then show the layer truth: the blur was a Gaussian of σ = {SIGMA} µm.",
        {"truth": f"Gaussian of {SIGMA} µm"},
    )


def movie() -> list[LayerData]:
    """Make a movie of two channels; the longer wavelength is blurred more."""
    blurred, sharp = made_up.movie((SIGMAS[0] / PIXEL, SIGMAS[1] / PIXEL))
    known = {
        "truth": [f"Gaussian of {sigma:.3f} µm" for sigma in SIGMAS],
        "optics": {"na": NA, "wavelengths": list(WAVELENGTHS)},
    }
    return _with_truth(
        "movie",
        blurred,
        sharp,
        "tcyx",
        "Press Run: each channel gets a kernel of its own; then move the slider c: that of the "
        "longer wavelength is wider.",
        known,
    )


def tilted() -> list[LayerData]:
    """Make a picture whose blur grows from left to right."""
    blurred, sharp = made_up.tilted(0.8, 3.2)
    return _with_truth(
        "tilted",
        blurred,
        sharp,
        "yx",
        "Choose “that vary over the field” under Advanced ▸ kernels and press Run: they "
        "widen from left to right, as the blur does.",
        {"truth": "Gaussian of 0.08 µm at the left to 0.32 µm at the right"},
    )


def bead_stack() -> list[LayerData]:
    """Make a stack of beads, four of which are of no use."""
    stack, places = made_up.beads(sigma=1.3, depth=3.0)
    kwargs = {
        "name": "beads",
        "scale": (0.2, PIXEL, PIXEL),
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": (float(stack.min()), float(np.percentile(stack, 99.9))),
        "metadata": {
            "try": "Open PSF from beads and find the beads: two that are too close, one "
            "at the border and a saturated one are left out.",
            "truth": f"Gaussian of {1.3 * PIXEL:.2f} µm in focus, wider above and below",
            "places": places.round(3).tolist(),
        },
    }
    return [(stack, kwargs, "image")]


def photo() -> list[LayerData]:
    """Draw a street in colour, taken by a camera that moved; the sharp one is hidden."""
    moved, sharp = made_up.photograph(length=11.0, angle=25.0)
    # A photograph has no pixel size.
    placed = {"units": ("pixel",) * 2, "axis_labels": ("y", "x"), "rgb": True}
    hint = (
        "Press Run: the way that the camera moved is found, and the colours stay; then show the "
        "layer photo truth."
    )
    known = {"try": hint, "truth": "a line of 11 px, turned by 25°"}
    return [
        (sharp, {"name": "photo truth", "visible": False, **placed}, "image"),
        (moved, {"name": "photo", "metadata": known, **placed}, "image"),
    ]


def _with_truth(
    name: str,
    blurred: NDArray[np.uint16],
    sharp: NDArray[np.float32],
    axes: str,
    hint: str,
    known: dict[str, Any],
) -> list[LayerData]:
    """Give the layers truth, hidden, and the blurred one, in the same place."""
    scales = {"t": FRAME, "c": 1.0, "y": PIXEL, "x": PIXEL}
    units = {"t": "s", "c": "pixel", "y": "um", "x": "um"}
    placed = {
        "scale": tuple(scales[a] for a in axes),
        "units": tuple(units[a] for a in axes),
        "axis_labels": tuple(axes),
    }
    top = float(np.percentile(blurred, 99.9))
    kwargs = {"name": name, "contrast_limits": (float(blurred.min()), top), **placed}
    truth = "truth" if name == "spots" else f"{name} truth"
    hidden = {"name": truth, "visible": False, "contrast_limits": (0.0, 4 * top), **placed}
    return [
        (sharp, hidden, "image"),
        (blurred, kwargs | {"metadata": {"try": hint, **known}}, "image"),
    ]


def simulated(size: int = 256) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Draw filaments and spots, blur them by a Gaussian and count photons.

    Returns
    -------
    blurred (y, x), uint16, with 100 counts of background; sharp (y, x), float32
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(7)
    sharp: NDArray[np.float32] = made_up.filaments((size, size), random, lines=14, points=40)
    light = gaussian_filter(sharp, SIGMA / PIXEL, mode="constant")
    return made_up.photographed(light, random), sharp
