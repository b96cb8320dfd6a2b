"""What reports of kernels say of whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NOTHING", "pointed_report", "report_of_frames", "sentence_of_frames", "verdict_of"]

NOTHING = "nothing to deblur"
BELIEVE, DOUBTFUL, NOT_JUDGED = "believe", "doubtful", "not judged"


def verdict_of(report: Mapping[str, Any]) -> tuple[str, str]:
    """Give the verdict and why, whoever said it."""
    if "verdict" in report:
        return report["verdict"], report.get("why", "")
    if "doubt" in report:
        why = report["doubt"]
        return (DOUBTFUL, why) if why else (BELIEVE, "no sign speaks against it")
    if "judged" in report:
        return report["judged"]["verdict"], report["judged"]["why"]
    return NOT_JUDGED, "nobody looked"


def pointed_report(report: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Say that there is nothing to deblur, of a kernel that was replaced by a point."""
    kept = {k: v for k, v in report.items() if k not in ("doubt", "judged")}
    return {**kept, "verdict": NOTHING, "why": why}


def report_of_frames(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the reports of the frames' kernels into one: the first frame's that has a kernel.

    Its ``frames`` hold verdict, why, and the parameters that were found, of every frame.
    """
    first = next((one for one in reports if verdict_of(one)[0] != NOTHING), reports[0])
    frames = []
    for one in reports:
        verdict, why = verdict_of(one)
        frame = {"verdict": verdict, "why": why}
        frames.append(frame | {k: one[k] for k in ("family", "parameters") if k in one})
    return {**first, "frames": frames}


def sentence_of_frames(frames: Sequence[Mapping[str, Any]], of: str) -> str:
    """Say in a sentence of which frames the kernels are to be believed."""
    parts = []
    for verdict, said in (
        (BELIEVE, "believed"),
        (DOUBTFUL, "doubtful"),
        (NOT_JUDGED, "not judged"),
        (NOTHING, NOTHING),
    ):
        those = [t for t, frame in enumerate(frames) if frame["verdict"] == verdict]
        if not those:
            continue
        why = f": {frames[those[0]]['why']}"
        left = "; left as they are" if verdict == NOTHING else ""
        more = " (the first of them)" if len(those) > 1 and verdict != BELIEVE else ""
        parts.append(f"{said} in {_named(those)}{why}{more}{left}")
    return f"kernels{of}, frame by frame: {'; '.join(parts)}"


def _named(numbers: Sequence[int]) -> str:
    """Name frames in runs: "frames 0 to 3 and 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    said = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"frame{'s' if len(numbers) > 1 else ''} {listed}"
