"""Every method of the catalogue on a few scenes: where it wins, and where it loses."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from napari_deblur.bench.entrants import entrant, restoring
from napari_deblur.bench.scenes import Case
from napari_deblur.bench.tracing import restored

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["measured"]

CASES = (
    Case("filaments", "airy", 80, (192, 192), 2),
    Case("filaments", "gaussian", 300, (192, 192), 2),
    Case("blobs", "gaussian", 300, (192, 192), 1),
    Case("beads", "airy", 3000, (192, 192)),
    Case("speckles", "defocus", 3000, (192, 192), 3),
    Case("mixed", "widefield, small", 300, (24, 80, 80), 2),
    Case("mixed", "widefield, small", 3000, (24, 80, 80), 2),
)
QUICK = (Case("filaments", "gaussian", 300, (40, 40)),)


def measured(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Restore each scene with each method, everything "auto"; yield what is being done."""
    rows = []
    for case in QUICK if asked.quick else CASES:
        scene = case.scene(asked.camera)
        before = scene.psnr(scene.tile)
        for name in restoring():
            yield f"{case}: {name}"
            row: dict[str, Any] = {"case": str(case), "method": name}
            try:
                done = restored(entrant(name), scene)
            except (NotImplementedError, ValueError) as error:
                rows.append({**row, "missing": str(error) or "not in the catalogue"})
                continue
            row |= {"gain": done.decibels - before, "decibels": done.decibels}
            rows.append({**row, "seconds": done.choosing + done.running})
    return rows
