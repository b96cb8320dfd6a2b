"""Whether the claim by which something is written is still there.

A worker hears late, or never, that its run was stopped; a process that slept for long learns last
that it was taken for dead. By then another run may have overwritten the result.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from napari_deblur import system
from napari_deblur.places import Place, Remote
from napari_deblur.stopping import RunStopped

__all__ = ["Standing", "over"]

# A look at an object is a request; a worker asks no more often.
EVERY = 0.5  # seconds


class Standing:
    """Looks whether a claim is still there, each time that something is to be written.

    What is written beside its final place is looked at in between: whoever takes the claim away
    later, and then removes the result, removes that too, and it can't get there any more.

    Parameters
    ----------
    file : Path or Remote
        Of the claim.
    seconds : float
        A look at an object holds for so long; a file is looked at each time.
    """

    def __init__(self, file: Place, seconds: float = EVERY) -> None:
        self.file = file
        self._seconds = seconds if isinstance(file, Remote) else 0.0
        self._looked = float("-inf")

    def check(self, seconds: float = 0.0) -> None:
        """Raise RunStopped if it is gone; none is looked for that was there some seconds ago."""
        # Not the monotonic clock, which may stand still while a machine sleeps.
        now = time.time()
        if abs(now - self._looked) >= max(seconds, self._seconds):
            self.look()
            self._looked = now

    def look(self) -> None:
        """Raise RunStopped if it is gone now."""
        if not _is_there(self.file):
            raise over(self.file)


def over(file: Place) -> RunStopped:
    """Give what to say when a claim is gone."""
    place, removed = file.parent.parent, False
    with suppress(OSError):
        removed = not place.exists()
    if removed:
        return RunStopped(f"{place} was removed while it was written: run the same again")
    return RunStopped(
        f"this run was stopped, or gave no sign for long and another one took it for dead and "
        f"writes {place} now: run the same again when that has ended"
    )


def _is_there(file: Place) -> bool:
    if isinstance(file, Path):
        return system.is_there(file)
    try:
        file.stat()
    except FileNotFoundError:
        return False
    return True
