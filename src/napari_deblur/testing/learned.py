"""What is checked of trained networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.protocols import Blur
from napari_deblur.testing.checks import (
    check_batches,
    check_cancelling,
    check_devices,
    check_purity,
    check_units,
)
from napari_deblur.testing.scenes import (
    Scene,
    centre_of,
    light_of,
    range_of,
    resolved,
    rms_of,
    scene,
)

__all__ = ["LEARNED"]

# How far a bead may move, in pixels, and by what share its light may change;
# how much a flat image and a sharp one may change, as a share of the range (root mean square).
MOVED, LIT, FLAT, SHARP = 0.1, 0.05, 0.01, 0.02
# Pixels beyond which nothing has a say, and what is left of it there, as a share of the range.
REACH, LEFT = 96, 1e-3


def _check_learned_beads(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    for kernel in ((9, 9), (8, 8), (15, 12)):
        made = scene((64, 70), kernel)
        restored = resolved(method, made)(made.seen, made.blur).image
        for axis in range(2):
            off = centre_of(restored, axis) - centre_of(made.sharp, axis)
            if abs(off) > MOVED:
                yield f"a bead moved by {off:+.3f} px along axis {axis} with a kernel of {kernel}"
        ratio = light_of(restored, (13, 13)) / light_of(made.sharp, (13, 13))
        if abs(ratio - 1) > LIT:
            yield f"the light of a bead became {ratio:.3f} of what it was with a kernel of {kernel}"


def _check_learned_sharp(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 70), (9, 9), beads=12)
    made = Scene(made.seen, made.seen, Blur(ops.delta((9, 9))[None]))
    restored = resolved(method, made, noise=0.1)(made.seen, made.blur).image
    error = rms_of(restored - made.seen) / range_of(made)
    if error > SHARP:
        yield f"a sharp image without noise changed by {error:.1%} of its range"


def _check_learned_flat(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 72), (9, 9))
    fixed = resolved(method, made)
    for level in (0.0, 0.3, 0.8):
        flat = torch.full((64, 72), made.background + level * range_of(made))
        restored = fixed(flat, made.blur).image
        error = rms_of((restored - flat)[9:-9, 9:-9]) / range_of(made)
        if not error <= FLAT:
            yield f"a flat image at {level:.0%} of the range changed by {error:.1%} of it"


def _check_offsets(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((40, 44), (7, 7), beads=3)
    other = Scene(made.sharp, made.seen + 500, made.blur, made.background + 500)
    once = resolved(method, made)(made.seen, made.blur).image
    raised = resolved(method, other)(other.seen, made.blur).image
    error = float((raised - 500 - once).abs().max() / range_of(made))
    if error > 1e-3:
        yield f"500 counts more gave a result that differs by {error:.1e} of the range"


def _check_filled(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 136), (7, 7), beads=9)
    fixed = resolved(method, made)
    holed = made.seen.clone()
    holed[5, 20] = torch.inf
    holed[20:22, 10:12] = torch.nan
    image = fixed(holed, made.blur).image
    if not bool(image.isfinite().all()):
        yield f"{int((~holed.isfinite()).sum())} holes became {int((~image.isfinite()).sum())}"
    error = rms_of((image - fixed(made.seen, made.blur).image)[:, -20:]) / range_of(made)
    if error > LEFT:
        yield f"holes changed the image far from them by {error:.1e} of the range"
    empty = fixed(torch.full((24, 28), torch.nan), made.blur).image
    if not bool(empty.isfinite().all()):
        yield "a tile without any data came out with NaN or infinite values"
    zero = fixed(torch.zeros(24, 28), made.blur).image
    if not bool(zero.isfinite().all()):
        yield "an image of zeros came out with NaN or infinite values"
    for shape in ((20, 24), (5, 3), (1, 40), (1, 1)):
        tile = made.seen[: shape[0], : shape[1]].contiguous()
        small = fixed(tile, scene((40, 40), (31, 33), sigma=2.0).blur).image
        if small.shape != shape or not bool(small.isfinite().all()):
            yield f"a kernel larger than an image of {shape} gave holes"


def _check_reach(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((48, 48 + 2 * REACH), (15, 15), sigma=2.0, beads=60)
    fixed = resolved(method, made)
    whole = fixed(made.seen, made.blur).image
    changed = made.seen.clone()
    changed[:, 24 + REACH :] = 3 * float(made.seen.max())
    there = fixed(changed, made.blur).image
    error = rms_of((there - whole)[:, :24]) / range_of(made)
    if error > LEFT:
        yield f"what lies {REACH} px away changed the image by {error:.1e} of the range"
    first = -(-48 // method.multiple_of) * method.multiple_of
    cut = fixed(made.seen[:, first:].contiguous(), made.blur).image
    error = rms_of(cut[:, REACH:] - whole[:, first + REACH :]) / range_of(made)
    if error > LEFT:
        yield f"a tile differs from the whole by {error:.1e} of the range {REACH} px inside"


def _check_planes_only(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((12, 20, 22), (3, 5, 5))
    try:
        resolved(method, made)(made.seen, made.blur)
    except ValueError:
        return
    yield "it took a kernel of several planes without a word"


def _check_memory(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((114, 122), (15, 7), beads=9)
    fixed = resolved(method, made)
    fixed(made.seen, made.blur)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        fixed(made.seen, made.blur)
    results = getattr(seen.profiler, "kineto_results", None)
    events = [] if results is None else [e for e in results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    peak = max(np.cumsum([event.nbytes() for event in events]), default=0)
    arrays = peak / (4 * 128 * 128)
    if arrays > method.arrays:
        yield f"it held {arrays:.0f} arrays at its peak, and states {method.arrays:g}"


LEARNED = {
    "beads stay where they are": _check_learned_beads,
    "sharp stays sharp": _check_learned_sharp,
    "flat stays flat": _check_learned_flat,
    "units don't matter": check_units,
    "offsets don't matter": _check_offsets,
    "a batch is its items": check_batches,
    "a pure function": check_purity,
    "holes are filled": _check_filled,
    "what is far away has no say": _check_reach,
    "volumes are refused": _check_planes_only,
    "cancel takes one iteration": check_cancelling,
    "memory is as stated": _check_memory,
    "all devices agree": check_devices,
}
