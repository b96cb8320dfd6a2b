"""Two stacks from elsewhere of which the answer is known, in a folder that is given.

``bars_epfl_25pct`` (ground_truth.tif, image.tif, psf.tif; from flowdec) and ``grid_confocal``
(image.tif, psf.tif; CC BY 4.0, acquired by B. Nitzsche and R. Haase, MPI-CBG).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.bench.asked import Asked

__all__ = ["measured"]

BARS, GRID = "bars_epfl_25pct", "grid_confocal"
GRID_SIZE = (0.125, 0.022, 0.022)


def measured(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Restore both stacks with their kernel and without; yield what is being done."""
    assert asked.data is not None
    for name in (BARS, GRID):
        if not (asked.data / name).is_dir():
            raise FileNotFoundError(f"{asked.data.name} has no folder {name}")
    rows = yield from _bars(asked.data / BARS)
    more = yield from _grid(asked.data / GRID)
    return rows + more


def _bars(folder: Path) -> Generator[str, None, list[dict[str, Any]]]:
    """Compare hollow bars with the truth, by correlation."""
    from napari_deblur.kernels import load_kernel
    from napari_deblur.opening import open_stack

    truth = np.asarray(open_stack(folder / "ground_truth.tif", "zyx").data)
    stack = open_stack(folder / "image.tif", "zyx")
    rows = [_row(BARS, "before", _agreement(np.asarray(stack.data), truth))]
    kernel = load_kernel(folder / "psf.tif")
    for settings in ({"iterations": 30}, {"iterations": 100}, {"iterations": "auto"}):
        text = f"richardson-lucy, {settings['iterations']} iterations"
        yield f"{BARS}: {text}"
        image = _restored(stack, "richardson-lucy", settings, kernel=kernel)
        rows.append(_row(BARS, text, None if image is None else _agreement(image, truth)))
    for shape in ((15, 15, 15), (31, 31, 31)):
        text = f"blind-richardson-lucy, {shape[0]} px"
        yield f"{BARS}: {text}"
        image = _restored(stack, "blind-richardson-lucy", {}, shape=shape)
        rows.append(_row(BARS, text, None if image is None else _agreement(image, truth)))
    return rows


def _grid(folder: Path) -> Generator[str, None, list[dict[str, Any]]]:
    """Measure the contrast of a grid's lines, its background left out."""
    from napari_deblur.kernels import load_kernel
    from napari_deblur.opening import open_stack

    stack = open_stack(folder / "image.tif", "zyx", pixel_size=GRID_SIZE)
    rows = [_row(GRID, "before", _contrast(np.asarray(stack.data, np.float32)))]
    kernel = load_kernel(folder / "psf.tif", pixel_size=GRID_SIZE)
    ways: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("richardson-lucy", "measured PSF", {"kernel": kernel}),
        ("blind-richardson-lucy", "(15, 31, 31) px", {"shape": (15, 31, 31)}),
    )
    for iterations in (20, 30):
        for name, how, asked in ways:
            text = f"{name}, {how}, {iterations} iterations"
            yield f"{GRID}: {text}"
            image = _restored(stack, name, {"iterations": iterations}, **asked)
            rows.append(_row(GRID, text, None if image is None else _contrast(image)))
    return rows


def _restored(
    stack: Any, name: str, settings: Mapping[str, Any], **asked: Any
) -> NDArray[np.float32] | None:
    from napari_deblur.bench.entrants import Missing, entrant
    from napari_deblur.lazy import deconvolve
    from napari_deblur.planning import plan

    try:
        method = entrant(name, **settings)
    except Missing:
        return None
    made = plan(stack, method, **asked)
    image: NDArray[np.float32] = deconvolve(made, stack).compute(scheduler="synchronous")
    return image


def _row(stack: str, way: str, value: float | None) -> dict[str, Any]:
    measure = "correlation with the truth" if stack == BARS else "contrast of the lines"
    return {"stack": stack, "way": way, "measure": measure, "value": value}


def _agreement(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _contrast(volume: NDArray[np.float32]) -> float:
    """Give the Michelson contrast of the vertical grid's mean profile, 90th to 10th percentile."""
    profile = volume.mean(axis=(0, 1))
    low, high = np.percentile(profile, (10, 90))
    return float((high - low) / (high + low))
