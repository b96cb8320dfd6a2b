"""The curves of a training, from its steps or from its log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["History", "said"]

Curves = dict[str, tuple[list[float], list[float]]]


class History:
    """What has been heard of a training."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, Any]] = []

    @classmethod
    def of(cls, folder: Path) -> History:
        """Read the log of a training; nothing if there is none."""
        found = cls()
        log = folder / "log.jsonl"
        for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
            if line.endswith("}"):
                found.add(json.loads(line))
        return found

    def add(self, step: Mapping[str, Any]) -> None:
        """Take a step; what a crash has made undone is forgotten."""
        # A stop adds a validation, without a loss, to an iteration that has been told.
        known = step["iteration"] + (step["loss"] is None)
        while self.steps and self.steps[-1]["iteration"] >= known:
            self.steps.pop()
        self.steps.append(step)

    def losses(self) -> Curves:
        """Give the loss over the iterations."""
        known = [(s["iteration"], s["loss"]) for s in self.steps if s["loss"] is not None]
        return {"loss": ([float(i) for i, _ in known], [float(v) for _, v in known])}

    def validations(self, quantity: str) -> Curves:
        """Give a quantity of the cases held back, a curve for each kind: "psnr out", "ncc out"."""
        curves: Curves = {}
        for step in self.steps:
            for name, value in (step["validation"] or {}).items():
                kind, _, what = name.partition(": ")
                if what == quantity:
                    xs, ys = curves.setdefault(kind, ([], []))
                    xs.append(float(step["iteration"]))
                    ys.append(float(value))
        return curves


def said(step: Mapping[str, Any], iterations: int) -> str:
    """Say in a sentence how far a training is."""
    done, seconds = step["iteration"], step["numbers"].get("seconds")
    words = [f"Iteration {done} of {iterations}"]
    if step["loss"] is not None:
        words.append(f"loss {step['loss']:.4f}")
    if seconds:
        words.append(f"{seconds:.2g} s each")
        words.append(f"about {_duration(seconds * (iterations - done))} left")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
