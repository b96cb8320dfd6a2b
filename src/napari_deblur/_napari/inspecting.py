"""What the inspector shows of a kernel, computed and saved in a thread."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur._napari.local_kernels import (
    Asked,
    Local,
    every_kernel,
    local_kernel,
    verdict_sentence,
    voxel_size,
)
from napari_deblur.kernel_measures import Measures, measured, numbers_of, optics_for, write_table
from napari_deblur.kernel_shapes import Ellipse, Shapes, ellipse, shapes_of
from napari_deblur.protocols import Facts, Kernel

if TYPE_CHECKING:
    from napari_deblur.kernel_figure import Chart

__all__ = ["Inspected", "inspecting", "mapping", "saving"]

Row = dict[str, float | str | None]


@dataclass(frozen=True, eq=False)
class Inspected:
    """A kernel, what was measured on it, and what is to be drawn.

    Parameters
    ----------
    asked : Asked
    local : Local
    given : Facts
        What the user said of the optics.
    optics : Facts
        That, completed by what is known.
    found, shape : Measures, Ellipse
    sections, charts : as `kernel_figure` gives them; profiles, transfer functions, and energy
    note : why there is no optical limit, or nothing
    """

    asked: Asked
    local: Local
    given: Facts
    optics: Facts
    found: Measures
    shape: Ellipse
    sections: Sequence[tuple[str, Any, tuple[float, float]]]
    charts: Sequence[tuple[str, str, Chart]]
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether to believe the kernel, in a sentence."""
        return verdict_sentence(self.local.kernel.report)

    def rows(self) -> list[tuple[str, str]]:
        """Give names and values of all measures, for people."""
        from napari_deblur.kernel_describing import of_measures, of_report

        rows = list(of_measures(self.found, self.local.kernel.pixel_size))
        wide, unit = self.shape, self.found.unit
        if wide.major < float("inf"):
            turned = f", the longer axis {wide.angle:.0f}° from x towards y" if wide.angle else ""
            said = f"{wide.major:.3g} × {wide.minor:.3g} {unit}{turned}"
            rows.insert(3, ("ellipse at half", said))
        said_of = [row for row in of_report(self.local.kernel) if row[0] != "verdict"]
        return rows + said_of + ([("optical limit", self.note)] if self.note else [])


def inspecting(
    asked: Asked, given: Facts, before: Inspected | None = None
) -> Generator[str, None, Inspected | str]:
    """Read a kernel and measure it; what was shown `before` is given back if it is the same.

    An error that can be told in a sentence is returned as one.
    """
    from napari_deblur.kernel_figure import charts, energy, sections

    yield "reading the kernel"
    try:
        local = local_kernel(asked)
    except (ValueError, OSError) as error:
        return str(error)
    if before is not None and local.key == before.local.key and given == before.given:
        return replace(before, asked=asked, local=local)
    yield "measuring"
    known = {name: getattr(local.facts, name) for name in ("na", "wavelength", "n_immersion")}
    optics, note = optics_for(local.kernel, given.completed("read", **known)), ""
    try:
        found = measured(local.kernel, optics)
    except ValueError as error:  # of no lens: the rest can be measured nevertheless
        found, note = measured(local.kernel), str(error)
    drawn = [*charts(local.kernel, found), energy(local.kernel, found)]
    shape, cuts = ellipse(local.kernel), sections(local.kernel)
    return Inspected(asked, local, given, optics, found, shape, cuts, drawn, note)


def mapping(asked: Asked) -> Generator[str, None, tuple[Shapes, tuple[float, float, float]]]:
    """Measure the ellipses of all kernels of a channel; give them with the image's voxel size."""
    yield "reading the kernels"
    if asked.store is None:
        raise ValueError(
            f'"{asked.name}" is one kernel: choose the kernels of a result, which may vary'
        )
    kernels, places = every_kernel(asked.store, *asked.place[:2])
    found = []
    for n, kernel in enumerate(kernels):
        yield f"measuring kernel {n + 1} of {len(kernels)}"
        found.append(shapes_of([kernel], places[n : n + 1]))
    every = tuple(one.ellipses[0] for one in found)
    own = kernels[0].pixel_size
    pixel = (1.0, 1.0, 1.0) if own is None else voxel_size(asked.store) or own
    return Shapes(places, every, found[0].unit), pixel


def saving(shown: Inspected, path: Path) -> Generator[str, None, str]:
    """Write what is shown: the kernel as .tif, its numbers as .csv, a picture as .png.

    The table has a row for each node or tile besides, where kernels vary.

    Raises
    ------
    ValueError, OSError
        When it can't be written.
    """
    from napari_deblur.kernel_figure import check_picture, write_figure
    from napari_deblur.kernels import save_kernel

    kind, kernel = path.suffix.lower(), shown.local.kernel
    optics = Facts() if shown.note else shown.optics
    yield f"writing {path.name}"
    if kind == ".png":
        check_picture(path)
        write_figure(kernel, path, optics, title=shown.local.where[:60])
    elif kind == ".csv":
        rows = [_row(shown.local.where, shown.asked.place, kernel, optics, shown.found)]
        if not shown.local.everywhere and shown.asked.store is not None:
            t, c = shown.asked.place[:2]
            kernels, places = every_kernel(shown.asked.store, t, c)
            for n, (one, place) in enumerate(zip(kernels, places, strict=True)):
                yield f"measuring kernel {n + 1} of {len(kernels)}"
                where = (t, c, *(float(v) for v in place))
                rows.append(_row(f"node {n}", where, one, optics, measured(one, optics)))
        write_table(path, rows)
    elif kind in (".tif", ".tiff", ".npz"):
        save_kernel(kernel, path)
    else:
        raise ValueError(f'"{path.name}" should end in .tif, .csv or .png')
    return f"Saved {path}."


def _row(where: str, place: Sequence[float], kernel: Kernel, optics: Facts, found: Measures) -> Row:
    shape = ellipse(kernel)
    row: Row = {"where": where}
    row |= dict(zip("tczyx", place, strict=True))
    row |= numbers_of(found)
    row |= {"major": shape.major, "minor": shape.minor, "angle": shape.angle}
    names = ("na", "wavelength", "n_immersion")
    return row | {name: getattr(optics, name) for name in names}
