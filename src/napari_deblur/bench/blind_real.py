"""Kernels found in two measured stacks, beside what is known of theirs.

``grid_confocal`` (image.tif, psf.tif of beads; CC BY 4.0, acquired by B. Nitzsche and R. Haase,
MPI-CBG) and ``dapi_widefield_deconwolf`` (image.tif, psf.tif by theory; GPL-3.0, from deconwolf).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["measured_confocal", "measured_widefield"]

GRID, NUCLEUS = "grid_confocal", "dapi_widefield_deconwolf"
SIZES = {GRID: (0.125, 0.022, 0.022), NUCLEUS: (0.3, 0.13, 0.13)}
OPTICS = {
    GRID: Facts(),
    NUCLEUS: Facts(na=1.45, wavelength=0.461, n_immersion=1.512),
}
# Voxels (z, y, x) of a stack that are looked at, for a trial.
QUICK = (12, 48, 48)


def measured_confocal(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Compare with the mean of beads measured on the same microscope."""
    yield from _measured(GRID, asked)


def measured_widefield(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Compare with the theory."""
    yield from _measured(NUCLEUS, asked)


def _measured(name: str, asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    from napari_deblur.estimating import estimate_kernel
    from napari_deblur.kernel_comparison import aligned_ncc
    from napari_deblur.kernel_files import load_kernel
    from napari_deblur.kernel_widths import full_widths
    from napari_deblur.opening import open_stack

    if asked.data is None:
        yield "left out: it needs a folder of stacks, --data FOLDER"
        return
    folder = asked.data / name
    if not folder.is_dir():
        yield f"left out: there is no folder {name} in the one of --data"
        return
    known = load_kernel(folder / "psf.tif", pixel_size=SIZES[name])
    pixels = np.asarray(open_stack(folder / "image.tif", "zyx").data)
    if asked.quick:
        pixels = pixels[tuple(slice(n) for n in QUICK)]
    begun = monotonic()
    found = estimate_kernel(
        open_stack(pixels, "zyx", pixel_size=SIZES[name]),
        facts=OPTICS[name],
        device="cpu",
    )
    seconds = monotonic() - begun
    yield {
        "case": name,
        "widths": _finite(full_widths(found)),
        "known widths": _finite(full_widths(known)),
        "ncc": aligned_ncc(known, found)[0],
        "seconds": seconds,
        "report": {k: v for k, v in found.report.items() if k not in ("profile", "samples")},
    }


def _finite(widths: Sequence[float | None]) -> list[float | None]:
    """Leave out widths of what doesn't fall to half its peak within the kernel."""
    return [w if w is not None and np.isfinite(w) else None for w in widths]
