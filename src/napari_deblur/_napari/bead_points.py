"""Beads as points of a layer and rows of a table, and back: what is corrected by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import spatial_kwargs, world_of

if TYPE_CHECKING:
    from napari_deblur._napari.showing import LayerData
    from napari_deblur.beads import Bead, BeadReport

__all__ = [
    "BY_HAND", "COLUMNS", "apart", "cells", "colours", "counted", "features_of", "go_to", "mark",
    "points_data", "points_of", "read", "spread", "tabbed",
]  # fmt: skip

COLUMNS = ("bead", "SNR", "FWHM z (µm)", "FWHM y (µm)", "FWHM x (µm)", "not used")
BY_HAND = "by hand"
# Apart for all eyes, on dark and on bright images.
USED, LEFT = (0.35, 0.85, 1.0, 1.0), (1.0, 0.55, 0.15, 1.0)
# Of a ring, in full widths of the bead.
RING = 3.0
# Points nearer than that, in voxels, are of one bead.
SAME = 1.5


def points_data(layer: Any, axes: str, beads: Sequence[Bead], name: str) -> LayerData:
    """Give beads as data of a Points layer that lies on their image: a ring around each.

    It has the axes y and x only, so that all beads are seen in every plane; z is a feature.

    Parameters
    ----------
    layer : image layer
    axes : letters of its axes
    """
    wide = [w for b in beads if b.fwhm is not None for w in b.fwhm[1:] if w is not None]
    pixel = float(np.abs(layer.scale[axes.index("x")])) or 1.0
    size = max(RING * float(np.median(wide)) / pixel if wide else 0.0, 7.0)
    kwargs = {
        **_flat(layer, axes),
        "name": name,
        "ndim": 2,
        "size": size,
        "border_width": 0.08,
        "border_color": colours(beads),
        "face_color": [0.0, 0.0, 0.0, 0.0],
        "features": features_of(beads),
        "text": {
            "string": "{not_used}",
            "size": 8,
            "color": "#ff8c26",
            "anchor": "upper_left",
            "translation": (-size / 4, 0.55 * size),  # beside the ring
        },
        "metadata": {"deblur": {"beads": layer.name}},
    }
    return points_of(beads), kwargs, "points"


def _flat(layer: Any, axes: str) -> dict[str, Any]:
    """Give where y and x of a layer lie; it may be turned in their plane."""
    whole = spatial_kwargs(layer, axes)
    two = [axes.index("y"), axes.index("x")]
    n = layer.ndim
    shear = np.eye(n)
    shear[np.triu_indices(n, 1)] = np.asarray(whole["shear"]).ravel()[: n * (n - 1) // 2]
    affine = np.asarray(whole["affine"])[np.ix_([*two, n], [*two, n])]
    kept = {
        name: tuple(whole[name][i] for i in two)
        for name in ("scale", "translate", "units", "axis_labels")
    }
    matrix = np.asarray(whole["rotate"])[np.ix_(two, two)] if n > 1 else np.eye(2)
    return kept | {"rotate": matrix, "shear": shear[np.ix_(two, two)], "affine": affine}


def points_of(beads: Sequence[Bead]) -> Any:
    """Give the beads' coordinates y, x."""
    return np.array([b.place[1:] for b in beads], float).reshape(-1, 2)


def features_of(beads: Sequence[Bead]) -> dict[str, Any]:
    """Give what is known of each bead, as columns; the place is where that was found."""
    wide = np.array([b.fwhm or (None,) * 3 for b in beads], float).reshape(-1, 3)
    places = np.array([b.place for b in beads], float).reshape(-1, 3)
    return {
        "not_used": np.array([b.rejected for b in beads], object),
        "snr": np.array([b.snr for b in beads], float),
        "light": np.array([b.light for b in beads], float),
        **dict(zip("zyx", places.T, strict=True)),
    } | {f"fwhm_{axis}": column for axis, column in zip("zyx", wide.T, strict=True)}


def colours(beads: Sequence[Bead]) -> Any:
    """Give the colour of each bead's ring: whether it is used."""
    return np.array([LEFT if b.rejected else USED for b in beads], float).reshape(-1, 4)


def read(points: Any) -> tuple[list[Bead], list[Bead]]:
    """Give the beads that the points are: those to use, and the others.

    Of points that were added, or moved off their bead, z is NaN: nobody said in which plane.
    """
    from napari_deblur.beads import Bead  # loads torch

    wanted: list[Bead] = []
    left: list[Bead] = []
    for row, (y, x) in zip(points.features.to_dict("records"), points.data, strict=True):
        moved = np.hypot(row["y"] - y, row["x"] - x)
        still = bool(moved <= SAME)  # not for NaN
        fwhm = (_known(row["fwhm_z"]), _known(row["fwhm_y"]), _known(row["fwhm_x"]))
        bead = Bead(
            (float(row["z"]) if still else float("nan"), float(y), float(x)),
            float(np.nan_to_num(row["snr"])) if still else 0.0,
            float(np.nan_to_num(row["light"])) if still else 0.0,
            fwhm if still and any(v is not None for v in fwhm) else None,
            str(row["not_used"] or ""),
        )
        (left if bead.rejected else wanted).append(bead)
    return wanted, left


def mark(points: Any, rows: Sequence[int], reason: str, *, new: bool = False) -> None:
    """Say why points are not used, or "" where they are, and colour them so.

    New ones have in all else what napari gave them of the point that was selected: it is taken off.
    """
    features = points.features.copy()
    features["not_used"] = features["not_used"].astype(object)
    features.loc[list(rows), "not_used"] = reason
    if new:
        features.loc[list(rows), [name for name in features if name != "not_used"]] = np.nan
    colours = np.array(points.border_color)
    colours[list(rows)] = LEFT if reason else USED
    points.features = features
    points.border_color = colours


def go_to(viewer: Any, layer: Any, place: Sequence[float]) -> None:
    """Move the sliders to a voxel of a layer."""
    world = world_of(viewer, layer, place)
    for axis, value in enumerate(world, viewer.dims.ndim - len(world)):
        if axis not in viewer.dims.displayed and np.isfinite(value):
            viewer.dims.set_point(axis, float(value))


def apart(left: Sequence[Bead], beads: Sequence[Bead]) -> list[Bead]:
    """Leave out of `left` what is one of `beads`, too: a point that was put on a bead."""
    places = np.array([b.place for b in beads]).reshape(-1, 3)
    return [b for b in left if not (np.hypot(*(places[:, 1:] - b.place[1:]).T) < SAME).any()]


def _known(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def counted(beads: Sequence[Bead]) -> str:
    """Say how many of the beads that are shown are used, and why the others are not."""
    lost = Counter(bead.rejected for bead in beads if bead.rejected)
    why = ", ".join(f"{count} {reason}" for reason, count in lost.items())
    used, count = len(beads) - lost.total(), len(beads)
    said = f"{used} of {count} bead{'s' if count != 1 else ''} used"
    return f"{said}; not used: {why}" if why else said


def cells(number: int, bead: Bead) -> tuple[str, ...]:
    """Give a bead as a row of the table; its number counts from 1."""
    wide = bead.fwhm or (None,) * 3
    widths = ("" if w is None or not np.isfinite(w) else f"{w:.3f}" for w in wide)
    return (str(number), f"{bead.snr:.0f}", *widths, bead.rejected)


def spread(report: BeadReport) -> str:
    """Say how wide the kernel is, and how wide the beads that were used are: mean ± spread."""
    whole = [
        f"{axis} {w:.3f}" if np.isfinite(w) else f"{axis} beyond its border"
        for axis, w in zip("zyx", report.fwhm, strict=True)
        if w is not None
    ]
    each = [
        f"{axis} {own:.3f}" + ("" if by is None else f" ± {by:.3f}")
        for axis, own, by in zip("zyx", report.own, report.spread or (None,) * 3, strict=True)
        if own is not None
    ]
    return (
        f"FWHM of the kernel {', '.join(whole)} µm; of the beads {', '.join(each)} µm, as of the "
        "Gaussian that fits each best: a kernel that is no Gaussian is wider or narrower at half "
        "of its peak"
    )


def tabbed(beads: Sequence[Bead], report: BeadReport | None = None) -> str:
    """Give the table as text that spreadsheets take, with mean and spread of the used beads."""
    rows = [COLUMNS, *(cells(n, bead) for n, bead in enumerate(beads, 1))]
    for name, values in (
        ("mean", report.own if report else None),
        ("spread", report.spread if report else None),
    ):
        if values is not None:
            rows.append((name, "", *("" if v is None else f"{v:.3f}" for v in values), ""))
    return "\n".join("\t".join(row) for row in rows) + "\n"
