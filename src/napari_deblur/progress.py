"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_deblur.tiles import Index

__all__ = ["Progress", "Tally"]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    done, total : int
        Of this phase, those of earlier runs included.
    phase : str
        ``tiles``, ``pyramid`` or ``export``; at the end ``complete`` or ``incomplete``, or ``part``
        when one part is done and others are not.
    index : (t, c, z, y, x) or None
        What was finished just now.
    seconds : float
        Since this run began.
    eta : float or None
        Seconds until this phase ends; None before the first is done.
    failed : int
        Tiles that were given up.
    clipped : int
        Voxels that did not fit into the integers of the output.
    emptied : int
        Voxels that had data, and have none in the result.
    note : str
        One sentence if there is something to say.
    """

    done: int
    total: int
    phase: str = "tiles"
    index: Index | None = None
    seconds: float = 0.0
    eta: float | None = None
    failed: int = 0
    clipped: int = 0
    emptied: int = 0
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.phase} {self.done}/{self.total}"]
        if self.eta is not None and self.done < self.total:
            parts.append(f"{self.eta:.0f} s left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.clipped:
            parts.append(f"{self.clipped} voxels clipped")
        if self.emptied:
            parts.append(f"{self.emptied} voxels without data that had some")
        return ", ".join(parts) + (f": {self.note}" if self.note else "")


@dataclass
class Tally:
    """Counts of one phase after the other; the clock and the failures go on through all."""

    begun: float = field(default_factory=monotonic)
    phase: str = "tiles"
    phase_begun: float = 0.0
    done: int = 0
    already: int = 0
    total: int = 0
    clipped: int = 0
    emptied: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)

    def start(self, phase: str, total: int, already: int = 0) -> None:
        """Begin a phase of which some was done by earlier runs."""
        self.phase, self.total, self.done, self.already = phase, total, already, already
        self.phase_begun = monotonic()

    def progress(self, index: Index | None = None, note: str = "") -> Progress:
        """Say how far it is at this moment."""
        now, new = monotonic(), self.done - self.already
        return Progress(
            self.done,
            self.total,
            self.phase,
            index,
            now - self.begun,
            (now - self.phase_begun) / new * (self.total - self.done) if new else None,
            len(self.failed),
            self.clipped,
            self.emptied,
            note,
        )
