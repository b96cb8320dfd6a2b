"""The tables of the network's benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.bench.tables import table

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["gdunet"]

IMAGE = {
    "psnr": "PSNR",
    "aligned": "PSNR, aligned",
    "ssim": "SSIM",
    "aligned ssim": "SSIM, aligned",
}
OURS, DEFAULT = "GDUNet", "Richardson-Lucy, default kernel, best iteration"
KERNEL = {
    "kernel snr": "kernel SNR in dB",
    "ncc": "NCC",
    "fwhm error": "FWHM error",
    "error ratio": "error ratio",
}


def gdunet(result: Result) -> Lines:
    """Write the parts that were measured."""
    write = {"methods": _methods, "sharp": _sharp, "noise": _noise, "speed": _speed}
    for name, lines in {**write, "networks": _methods}.items():
        if name in result:
            yield f"## {name.capitalize()}"
            yield ""
            yield from lines(result[name]["rows"])
            yield f"Measured in {result[name]['seconds']:.0f} s."
            yield ""


def _methods(rows: Sequence[Result]) -> Lines:
    ways = [name for name, value in rows[0].items() if isinstance(value, dict)]
    for peak in dict.fromkeys(row["peak"] for row in rows):
        some = [row for row in rows if row["peak"] == peak]
        yield f"{len(some)} cases of {peak:g} photons; medians, in brackets 5 % and 95 %:"
        yield ""
        head = ["", "cases", *IMAGE.values(), "gain over the input", *KERNEL.values(), "seconds"]
        yield from table(head, [_line(way, some) for way in ways])
        if OURS in ways:
            yield f"{OURS} against the others, case by case, and its kernels:"
            yield ""
            yield from table(
                ["against", "PSNR in dB", "SSIM", "better in"],
                [_against(way, some) for way in ways if way != OURS],
            )
            yield from _of_kernels(some)


def _against(way: str, rows: Sequence[Result]) -> list[str]:
    """Compare with another way on the same cases."""
    pairs = [(row[OURS], row[way]) for row in rows if way in row]
    gains = [ours["psnr"] - other["psnr"] for ours, other in pairs]
    likeness = [ours["ssim"] - other["ssim"] for ours, other in pairs]
    better = np.mean([gain > 0 for gain in gains])
    return [way, _spread(gains, 2, "+"), _spread(likeness, 3, "+"), f"{better:.0%}"]


def _of_kernels(rows: Sequence[Result]) -> Lines:
    ours = [row[OURS] for row in rows]
    right = np.mean([one["error ratio"] <= 2 for one in ours])
    known = [(row[OURS]["kernel snr"], row[DEFAULT]["kernel snr"]) for row in rows]
    better = np.mean([one > other for one, other in known])
    yield (
        f"Its kernel is nearer to the true one than the Gaussian that it may begin with in "
        f"{better:.0%} of the cases; the error ratio is 2 or less in {right:.0%}."
    )
    yield ""


def _line(way: str, rows: Sequence[Result]) -> list[str]:
    there = [row for row in rows if way in row]
    if not there:
        return [way, "0"]
    gains = [row[way]["psnr"] - row["input"]["psnr"] for row in there]
    of = {key: [row[way][key] for row in there if key in row[way]] for key in (*IMAGE, *KERNEL)}
    return [
        way,
        str(len(there)),
        *(_spread(of[key], 3 if "ssim" in key else 2) for key in IMAGE),
        _spread(gains, 2, sign="+"),
        *(_spread(of[key], 2) for key in KERNEL),
        f"{np.median([row[way]['seconds'] for row in there]):.2f}",
    ]


def _spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    if not values:
        return ""
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{middle:{sign}.{digits}f} ({low:{sign}.{digits}f}, {high:{sign}.{digits}f})"


def _sharp(rows: Sequence[Result]) -> Lines:
    ways = [name for name, value in rows[0].items() if isinstance(value, dict)][1:]
    cells = []
    for peak in dict.fromkeys(row["peak"] for row in rows):
        some = [row for row in rows if row["peak"] == peak]
        for way in ways:
            gains = [row[way]["psnr"] - row["input"]["psnr"] for row in some]
            cells.append([f"{peak:g} photons", way, _spread(gains, 2, "+"), f"{min(gains):+.2f}"])
    yield from table(["", "", "gain over the input in dB", "worst"], cells)


def _noise(rows: Sequence[Result]) -> Lines:
    yield from table(
        ["", "deviation before", "after", "verdict"],
        [
            [
                row["case"],
                f"{row['deviation before']:.2f}",
                f"{row['deviation after']:.2f}",
                row["verdict"],
            ]
            for row in rows
        ],
    )


def _speed(rows: Sequence[Result]) -> Lines:
    yield from table(
        ["", "threads", "restoring, s", "finding the kernel, s"],
        [
            [
                row["case"],
                str(row["threads"]),
                f"{row['restoring']:.2f}",
                f"{row['finding']:.2f}",
            ]
            for row in rows
        ],
    )
