"""Motion blur, found blind: real camera shake, the same on other photographs, large kernels."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.methods.blind_sparse import BlindSparse
from napari_deblur.methods.hyper_laplacian import HyperLaplacian
from napari_deblur.protocols import Blur, Facts, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

__all__ = ["aligned_error", "large_kernels", "likeness", "measured_large", "measured_motion"]

WHITE = 255.0
# 1 % of white, as in the literature.
NOISE = 2.55
# The true kernels' sizes, 13 to 27 px, are not told.
SHAPE = (1, 31, 31)
# Kernels of the real set that each photograph of the other set is blurred with.
EACH = 2
FWHM = 2 * (2 * np.log(2)) ** 0.5
# The border that no score sees, and how far images may be moved against each other.
BORDER, REACH = 25, 7
LARGE = 191
# Widths at half maximum of large paths, in pixels; 0 for a line that is as broad as a pixel. Of the
# real kernels' strands it is a tenth of the kernel.
WIDTHS = (5.0, 0.0)
PATHS = range(4)


def measured_motion(folder: Path, *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each blurred photograph of a folder.

    Parameters
    ----------
    folder : Path
        Of photographs, with any of ``levin09`` (``blurred``, ``gt``, ``kernels``), ``set12`` and
        ``dublid_bsds_linear`` (``blurred``, ``sharp``, ``kernels``) in it.
    quick : bool
        One photograph of each set.

    Yields
    ------
    dict
        Set, name, PSNR (dB, aligned) of the blurred image, with the true kernel and with the
        found one; the ratio of the last two's errors; likeness of the kernels; the estimate's
        report; seconds.
    """
    for cases in (_levin(folder), _set12(folder), _dublid(folder)):
        for number, (name, seen, sharp, kernel) in enumerate(cases):
            if quick and number:
                break
            yield {"case": name, **_measured(seen, sharp, kernel)}


def large_kernels(folder: Path | None = None) -> Iterator[tuple[str, Image]]:
    """Yield names and kernels of 191 × 191 px: random paths of two widths, and enlarged real ones.

    Parameters
    ----------
    folder : Path or None
        As for `measured_motion`; without it there are paths alone.
    """
    for width in WIDTHS:
        for seed in PATHS:
            yield f"path {seed}, {width:g} px", _path(LARGE, seed, width)
    if folder is not None:
        for file in sorted((folder / "levin09" / "kernels").glob("*.npy")):
            yield f"{file.stem}, enlarged", _enlarged(_kernel(file), LARGE)


def measured_large(
    sharp: Image, kernel: Image | None = None, *, seed: int = 0, restore: bool = True
) -> dict[str, Any]:
    """Find a kernel of 191 × 191 px in a large image with 1 % of noise.

    Parameters
    ----------
    sharp : array (y, x), 0 to 255
    kernel : array (y, x) or None
        None: the first of `large_kernels`.
    seed : int
        Of the noise.
    restore : bool
        Restore as well, which takes longer than the search.

    Returns
    -------
    dict
        Likeness of the found kernel, and of what a quarter of the resolution leaves of the true
        one; seconds, memory and report of the search; PSNR in dB as for `measured_motion`.
    """
    if kernel is None:
        _, kernel = next(large_kernels())
    seen = _blurred(sharp, kernel, seed)
    sample = _sample(seen)
    wall, own = perf_counter(), process_time()
    found = BlindSparse().resolved([sample]).estimate([sample], (1, *kernel.shape), None)
    row = {
        "image": list(seen.shape),
        "likeness": likeness(found.at()[0], kernel),
        "at most": likeness(_coarse(kernel, 4), kernel),
        "seconds": perf_counter() - wall,
        "processor seconds": process_time() - own,
        # In KiB on Linux; of the whole process until now.
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "report": {k: v for k, v in found.report.items() if k != "samples"},
    }
    if restore:
        inner = tuple(
            slice((n - 1) // 2, m - n // 2) for n, m in zip(kernel.shape, sharp.shape, strict=True)
        )
        images = [_restored(sample, one, HyperLaplacian())[0] for one in (kernel, found.at()[0])]
        names = ("blurred", "true kernel", "blind")
        decibels = [_decibels(aligned_error(one, sharp[inner])) for one in (seen, *images)]
        row["decibels"] = dict(zip(names, decibels, strict=True))
    return row


def _coarse(kernel: Image, times: int) -> Image:
    """Smooth a kernel as a coarser copy of so many pixels per pixel does, and linear steps."""
    from scipy.ndimage import gaussian_filter

    smooth: Image = gaussian_filter(kernel, 0.65 * times, mode="constant")
    return smooth


def _enlarged(kernel: Image, size: int) -> Image:
    """Draw a small kernel so large that it fills a size, with linear steps."""
    from scipy.ndimage import zoom

    large = zoom(kernel, (size - 6) / max(kernel.shape), order=1)
    room = [((size - n) // 2, size - n - (size - n) // 2) for n in large.shape]
    drawn: Image = np.pad(large / large.sum(), room)
    return drawn


def likeness(one: Image, other: Image) -> float:
    """Give the normalised correlation of two kernels (y, x) at the shift where it is largest."""
    lengths = tuple(2 * max(a, b) + 1 for a, b in zip(one.shape, other.shape, strict=True))
    product = np.fft.rfft2(one, lengths) * np.fft.rfft2(other, lengths).conj()
    power = float(np.square(one, dtype=float).sum() * np.square(other, dtype=float).sum())
    return float(np.fft.irfft2(product, lengths).max() / power**0.5)


def aligned_error(image: Image, sharp: Image) -> float:
    """Give the mean squared error, 0 to 255, at the shift (of parts of a pixel) that suits best.

    A blind kernel is known up to a shift, and the real photographs are not registered.
    """
    from scipy.ndimage import shift, spline_filter
    from scipy.optimize import minimize

    inner = tuple(slice(BORDER, -BORDER) for _ in sharp.shape)
    image = image.clip(0, WHITE)
    steps = range(-REACH, REACH + 1)
    error, first = min(
        (float(np.square(np.roll(image, (dy, dx), (0, 1))[inner] - sharp[inner]).mean()), (dy, dx))
        for dy in steps
        for dx in steps
    )
    smooth = spline_filter(image.astype(np.float64), 3)

    def off(by: Any) -> float:
        moved = shift(smooth, by, order=3, prefilter=False, mode="nearest")
        return float(np.square(moved[inner] - sharp[inner]).mean())

    y, x = first
    corners = [(y, x), (y + 0.4, x), (y, x + 0.4)]
    best = minimize(
        off,
        np.array(first, float),
        method="Nelder-Mead",
        options={"initial_simplex": np.array(corners), "xatol": 0.01, "fatol": 1e-3},
    )
    return min(error, float(best.fun))


def _measured(seen: Image, sharp: Image, kernel: Image) -> dict[str, Any]:
    sample = _sample(seen)
    truth, _ = _restored(sample, kernel, HyperLaplacian())
    wall, own = perf_counter(), process_time()
    method = BlindSparse().resolved([sample])
    found = method.estimate([sample], SHAPE, None)
    estimating = perf_counter() - wall
    image, _ = _restored(sample, found.at()[0], method.restorer())
    seconds, processor = perf_counter() - wall, process_time() - own
    errors = [aligned_error(one, sharp) for one in (seen, truth, image)]
    return {
        "decibels": dict(
            zip(("blurred", "true kernel", "blind"), map(_decibels, errors), strict=True)
        ),
        "error ratio": errors[2] / errors[1],
        "likeness": likeness(found.at()[0], kernel),
        "report": {k: v for k, v in found.report.items() if k != "samples"},
        "seconds": seconds,
        "seconds for the kernel": estimating,
        "processor seconds": processor,
    }


def _restored(sample: Sample, kernel: Image, method: Any) -> tuple[Image, Any]:
    blur = Blur(torch.from_numpy(kernel.copy())[None])
    fixed = method.resolved([replace(sample, blur=blur)])
    return fixed(sample.tile, blur).image.numpy(), fixed


def _sample(seen: Image) -> Sample:
    y, x = seen.shape
    facts = Facts(background=0.0, white=WHITE)
    return Sample(torch.from_numpy(seen), ((0, 1), (0, y), (0, x)), 0, 0, None, facts)


def _decibels(error: float) -> float:
    return float(10 * np.log10(WHITE**2 / error))


def _levin(folder: Path) -> Iterator[tuple[str, Image, Image, Image]]:
    for file in sorted((folder / "levin09" / "blurred").glob("*.png")):
        name, kernel = file.stem.split("_")
        yield (
            f"levin09 {file.stem}",
            _read(file),
            _read(folder / "levin09" / "gt" / f"{name}.png"),
            _kernel(folder / "levin09" / "kernels" / f"{kernel}.npy"),
        )


def _set12(folder: Path) -> Iterator[tuple[str, Image, Image, Image]]:
    """Blur each photograph with some of the real kernels, in turn; 1 % of noise, 8 bits."""
    files = sorted((folder / "levin09" / "kernels").glob("*.npy"))
    for number, file in enumerate(sorted((folder / "set12").glob("*.png"))):
        sharp = _read(file)
        for turn in range(EACH if files else 0):
            which = files[(3 * number + 2 * turn) % len(files)]
            kernel = _kernel(which)
            seen = _blurred(sharp, kernel, 8 * number + turn)
            inner = tuple(
                slice((n - 1) // 2, m - n // 2)
                for n, m in zip(kernel.shape, sharp.shape, strict=True)
            )
            yield f"set12 {file.stem} {which.stem}", seen, sharp[inner], kernel


def _dublid(folder: Path) -> Iterator[tuple[str, Image, Image, Image]]:
    root = folder / "dublid_bsds_linear"
    for file in sorted((root / "blurred").glob("*.png")):
        kernel = _read(root / "kernels" / file.name)
        yield (
            f"dublid {file.stem}",
            _read(file),
            _read(root / "sharp" / file.name),
            kernel / kernel.sum(),
        )


def _blurred(sharp: Image, kernel: Image, seed: int) -> Image:
    seen = ops.blur(torch.from_numpy(sharp), Blur(torch.from_numpy(kernel)[None])).numpy()
    seen = seen + NOISE * np.random.default_rng(seed).standard_normal(seen.shape)
    return seen.round().clip(0, WHITE).astype(np.float32)


def _path(size: int, seed: int, width: float = 0.0) -> Image:
    """Draw a smooth random path across a kernel, as a hand shakes."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    random = np.random.default_rng(seed)
    speed = gaussian_filter1d(random.standard_normal((2, 4000)), 400, axis=1)
    path = np.cumsum(speed, axis=1)
    path -= path.mean(axis=1, keepdims=True)
    y, x = path * ((size // 2 - 6) / np.abs(path).max()) + size // 2
    kernel = np.zeros((size, size), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            np.add.at(kernel, (row, column), (1 - np.abs(y - row)) * (1 - np.abs(x - column)))
    drawn: Image = gaussian_filter(kernel / kernel.sum(), width / FWHM, mode="constant")
    return drawn


def _kernel(file: Path) -> Image:
    array = np.load(file).astype(np.float32)
    one: Image = array / array.sum()
    return one


def _read(file: Path) -> Image:
    from PIL import Image as Pictures

    with Pictures.open(file) as picture:
        array = np.asarray(picture if picture.mode.startswith("I") else picture.convert("L"))
    read: Image = array.astype(np.float32)
    return read
