"""A training seen from napari: started, asked to stop, and what it said."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_deblur._napari.running import Child

__all__ = ["TrainingRun", "best_said"]

MODULE = "napari_deblur._napari.training_child"


class TrainingRun(Child):
    """The process of a training, and what it has said so far.

    Parameters
    ----------
    request : mapping
        For `training_child.main`.
    folder : Path
        Of the training.
    iterations : int
        In all.
    """

    def __init__(self, request: Mapping[str, Any], folder: Path, iterations: int) -> None:
        self.folder, self.iterations = folder, iterations
        self.asked = self.learning = False
        self.best: dict[str, Any] = {}
        self.outcome = self.error = ""
        super().__init__(request, module=MODULE)

    def ask_to_stop(self) -> None:
        """Let it save what was learned, and end."""
        self.asked = True
        pipe = self._process.stdin
        with contextlib.suppress(OSError, ValueError):  # it has ended already
            if pipe is not None:
                pipe.write(b"stop\n")
                pipe.flush()


def best_said(best: Mapping[str, Any]) -> str:
    """Say how good the best weights are."""
    if not best:
        return "Not validated yet"
    if not best["iterations"]:
        return f"Best: {best['score']:.2f} dB, of the weights that it began with"
    return f"Best: {best['score']:.2f} dB, after {best['iterations']} iterations"
