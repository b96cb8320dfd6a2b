"""How far a run is and what came of it, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_deblur._napari.texts import lasting

if TYPE_CHECKING:
    from napari_deblur.plans import Plan

__all__ = ["details", "said", "scaled", "sentence", "verdicts"]

# Of a verdict; the reason is told only if it is short.
SAID = {
    "believe": "can be believed",
    "doubtful": "is doubtful",
    "not judged": "was not judged",
}
SHORT = 90  # letters


def said(progress: Mapping[str, Any]) -> str:
    """Say in one line how far a run is."""
    what = {"tiles": "tile", "pyramid": "lower resolutions, chunk"}.get(progress["phase"])
    if what is None:
        return sentence(progress["note"] or progress["phase"])
    text = f"{what} {progress['done']} of {progress['total']}"
    if progress["eta"] is not None and progress["done"] < progress["total"]:
        text += f", about {lasting(progress['eta'])} left"
    if progress["failed"]:
        text += f", {progress['failed']} failed"
    return sentence(text + (f": {progress['note']}" if progress["note"] else ""))


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def verdicts(plan: Plan, picked: Sequence[int] | None = None) -> list[str]:
    """Say of each channel, in one short sentence, whether its kernel can be believed.

    Parameters
    ----------
    plan : Plan
    picked : ints or None
        The numbers of its channels in the image, where some were left out.
    """
    from napari_deblur.kernel_verdicts import NOTHING, verdict_of

    whole = plan.kernel.report
    reports = whole.get("channels", [whole])
    told = []
    for c, report in enumerate(reports):
        name = plan.layout.channels[c].name if c < len(plan.layout.channels) else ""
        number = c if picked is None else picked[c]
        of = f" of {name or f'channel {number}'}" if len(reports) > 1 else ""
        if "frames" in report:
            told.append(_of_frames(report["frames"], of))
            continue
        verdict, why = verdict_of(report)
        if verdict == NOTHING:
            told.append(f"There is nothing to deblur{_in(of)}: it is left as it is.")
            continue
        first = re.split(r"[;:(]", why)[0].strip()
        silent = verdict == "believe" or (verdict, why) == verdict_of({})
        reason = f": {first}" if not silent and 0 < len(first) < SHORT else ""
        told.append(f"The kernel{of} {SAID.get(verdict, SAID['not judged'])}{reason}.")
    return told


def _in(of: str) -> str:
    return of.replace(" of ", " in ", 1)


def _of_frames(frames: list[Mapping[str, Any]], of: str) -> str:
    from napari_deblur.kernel_verdicts import NOTHING

    blurred = [frame for frame in frames if frame["verdict"] != NOTHING]
    left = len(frames) - len(blurred)
    if not blurred:
        return f"There is nothing to deblur{_in(of)}: it is left as it is."
    believed = sum(frame["verdict"] == "believe" for frame in blurred)
    many = "s" if len(blurred) > 1 else ""
    said = f"The kernels{of} can be believed in {believed} of {len(blurred)} frame{many}"
    if not left:
        return f"{said}."
    return f"{said}; in {left} more there is nothing to deblur, and they are left as they are."


def scaled(plan: Plan) -> list[str]:
    """Say what the numbers of a result are, where they are no counts."""
    if (plan.scale, plan.offset) == (1.0, 0.0):
        return []
    more = f" {'+' if plan.offset > 0 else '−'} {abs(plan.offset):.4g}" if plan.offset else ""
    return [f"Its {plan.dtype} numbers are scaled: counts = number × {plan.scale:.4g}{more}."]


def details(plan: Plan) -> str:
    """Say all that was noted of a plan, a line for each, and then the plan itself."""
    from napari_deblur.describing import of_plan

    noted = [f"• {sentence(note).rstrip('.')}." for note in plan.notes]
    return "\n".join([*noted, "", *(f"{name}: {text}" for name, text in of_plan(plan))])
