"""The kernels of all channels: fitted to the stack, put into one array, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_deblur.kernel_verdicts import sentence_of_frames
from napari_deblur.kernels import centred, padded, resampled
from napari_deblur.protocols import Kernel, KernelField
from napari_deblur.stack import complete_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_deblur.stack import Stack

__all__ = [
    "Kernels",
    "believed",
    "fields_given",
    "fitted",
    "is_point",
    "of_each",
    "off_centre",
    "same_as",
    "together",
]

# Arrays too; channels by index or name.
Kernels = Kernel | KernelField | Mapping[Any, Any]
# A centre of mass farther from the kernel's middle than this is worth a sentence, in pixels.
OFF_CENTRE = 0.25
# Nearer to it than this, moving it would only widen it.
CENTRED = 0.01
# Kernels from files carry rounded voxel sizes.
SAME_SIZE = 0.01


def fitted(
    stack: Stack, kernel: Kernels | None, notes: list[str], *, centre: bool = False
) -> dict[int, Kernel]:
    """Fit the user's kernels to the stack: one for each channel, at the stack's voxel size.

    Bare arrays are cleaned as measured kernels are; of a field its typical kernel is taken.

    Parameters
    ----------
    kernel : Kernel or array, or {channel: Kernel or array}
        Channels by index or name; those that have none are left out.
    notes : list of str
        What was done to kernels is added.
    centre : bool
        Move centres of mass to the middle.
    """
    if kernel is None:
        return {}
    each: dict[Any, Kernel] = {}
    if isinstance(kernel, Mapping):
        names = {channel.name: c for c, channel in enumerate(stack.channels) if channel.name}
        each = {names.get(key, key): _kernel(one) for key, one in kernel.items()}
        for key, given in each.items():
            if given.array.shape[1] > 1:
                raise ValueError(
                    f"channel {key} is given kernels for {given.array.shape[1]} channels: give the "
                    "one that is meant, or all of them without naming a channel"
                )
    else:
        each = dict(of_each(stack, _kernel(kernel)))
    extra = sorted(set(each) - set(range(stack.shape[1])), key=str)
    if extra:
        raise ValueError(
            f"a kernel is given for channel {extra[0]} but the stack has {stack.shape[1]} "
            "(from 0): leave it out"
        )
    for c, given in each.items():
        frames = given.array.shape[0]
        if frames not in (1, stack.shape[0]):
            raise ValueError(
                f"there are kernels for {frames} frames but the stack has {stack.shape[0]}: give "
                "one, or one for each"
            )
        if centre and max(abs(v) for v in given.centroid()) > CENTRED:
            moved = ", ".join(f"{round(-v, 2) or 0.0:+.2f}" for v in given.centroid())
            _say(notes, f"the kernel was moved to its middle: by ({moved}) px (z, y, x)")
            each[c] = centred(given)
    return {c: _at_size(stack, given, notes) for c, given in each.items()}


def fields_given(stack: Stack, kernel: object) -> tuple[dict[int, KernelField], Any]:
    """Tell the fields among the kernels that the user gave, by channel, from the rest.

    The rest has a typical kernel in the place of each field.
    """
    if isinstance(kernel, KernelField):
        _check_size(stack, kernel)
        return dict.fromkeys(range(stack.shape[1]), kernel), kernel.typical()
    if not isinstance(kernel, Mapping):
        return {}, kernel
    names = {channel.name: c for c, channel in enumerate(stack.channels) if channel.name}
    fields: dict[int, KernelField] = {}
    for key, one in kernel.items():
        if isinstance(one, KernelField):
            _check_size(stack, one)
            place: Any = names.get(key, key)
            fields[place] = one
    rest = {k: one.typical() if isinstance(one, KernelField) else one for k, one in kernel.items()}
    return fields, rest


def _check_size(stack: Stack, field: KernelField) -> None:
    """Refuse a field of other voxels than the image's: its nodes would lie elsewhere."""
    if field.pixel_size is None or stack.pixel_size is None:
        return
    axes = range(0 if field.shape[0] > 1 else 1, 3)
    wanted = [(stack.pixel_size[a], field.pixel_size[a]) for a in axes]
    if any(a is not None and abs(a / b - 1) > SAME_SIZE for a, b in wanted):
        raise ValueError(
            f"the field was made for voxels of {field.pixel_size} µm (z, y, x) and the image has "
            f"{stack.pixel_size}: make one for this image"
        )


def of_each(stack: Stack, kernel: Kernel) -> dict[int, Kernel]:
    """Give each channel its own of a kernel for all, or of one for each.

    Raises
    ------
    ValueError
        When there are kernels for another number of channels.
    """
    channels = kernel.array.shape[1]
    if channels not in (1, stack.shape[1]):
        raise ValueError(
            f"there are kernels for {channels} channels but the stack has "
            f"{stack.shape[1]}: give one, or one for each"
        )
    return {
        c: Kernel(
            kernel.array[:, c if channels > 1 else 0][:, None], kernel.pixel_size, kernel.report
        )
        for c in range(stack.shape[1])
    }


def same_as(plan: Kernel, kernels: Mapping[int, Kernel]) -> bool:
    """Tell whether each of `kernels`, by channel, is what a plan's kernels are for that channel."""
    for c, one in kernels.items():
        if any(n > there for n, there in zip(one.shape, plan.shape, strict=True)):
            return False
        for t in range(plan.array.shape[0]):
            if not np.array_equal(padded(one.at(t), plan.shape), plan.at(t, c)):
                return False
    return True


def _kernel(given: object) -> Kernel:
    if isinstance(given, KernelField):
        return given.typical()
    return given if isinstance(given, Kernel) else Kernel.cleaned(cast("ArrayLike", given))


def _at_size(stack: Stack, kernel: Kernel, notes: list[str]) -> Kernel:
    for said in kernel.report.get("cleaned", []):
        _say(notes, f"the kernel was cleaned: {said}")
    wanted = stack.pixel_size
    if kernel.pixel_size is None:
        _say(notes, "the kernel has no voxel size: it is taken to have the image's")
        return (
            replace(kernel, pixel_size=complete_size(wanted)) if complete_size(wanted) else kernel
        )
    if wanted is None:
        _say(notes, "the image has no voxel size: the kernel is used pixel for pixel")
        return kernel
    target = tuple(w or k for w, k in zip(wanted, kernel.pixel_size, strict=True))
    axes = range(0 if kernel.shape[0] > 1 else 1, 3)
    if all(abs(target[a] / kernel.pixel_size[a] - 1) <= SAME_SIZE for a in axes):
        return kernel
    size = " × ".join(f"{v:.4g}" for v in kernel.pixel_size)
    _say(notes, f"the kernel, of {size} µm voxels, was resampled to the image's")
    z, y, x = target
    return resampled(kernel, (z, y, x))


def _say(notes: list[str], sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def together(kernels: Mapping[int, Kernel]) -> Kernel:
    """Put the channels' kernels into one array, padded to one shape around their centres."""
    every = [kernels[c] for c in sorted(kernels)]
    frames = max(k.array.shape[0] for k in every)
    sizes = [k.shape for k in every]
    shape = (max(s[0] for s in sizes), max(s[1] for s in sizes), max(s[2] for s in sizes))
    same = all(np.array_equal(k.array, every[0].array) for k in every)
    used = every[:1] if same and len(every) > 1 else every
    array = np.stack([np.stack([padded(k.at(t), shape) for k in used]) for t in range(frames)])
    reports = [dict(k.report) for k in used]
    report = reports[0] if len(reports) == 1 else {"channels": reports}
    return Kernel(array, every[0].pixel_size, report)


def is_point(kernel: Kernel) -> bool:
    """Tell whether a kernel is a single point in its middle, for all frames and channels."""
    z, y, x = (n // 2 for n in kernel.shape)
    return bool(
        (kernel.array[..., z, y, x] == 1).all()
        and np.count_nonzero(kernel.array) == (kernel.array.shape[0] * kernel.array.shape[1])
    )


def believed(kernels: Mapping[int, Kernel]) -> list[str]:
    """Say of each kernel whether to believe it, and what it is if it was found."""
    said = []
    for c, kernel in kernels.items():
        report = kernel.report
        of = f" of channel {c}" if len(kernels) > 1 else ""
        if "frames" in report:
            said.append(sentence_of_frames(report["frames"], of))
            continue
        if "judged" in report:
            said.append(_judgement(report["judged"], of, found="method" in report))
        if "doubt" in report:
            why = report["doubt"]
            said.append(
                f"the kernel{of} that was found is "
                + (f"doubtful: {why}" if why else "believed: no sign speaks against it")
            )
        if "first" in report:
            said.append(report["first"]["said"])
        if "verdict" not in report:
            continue
        if report["verdict"] == "nothing to deblur":
            said.append(f"nothing to deblur{of}: {report['why']}; it is left as it is")
        else:
            numbers = ", ".join(f"{n} {v:.4g}" for n, v in report.get("parameters", {}).items())
            unit = "µm" if kernel.pixel_size is not None else "px"
            family = f"{report.get('family', '')} ({numbers}; lengths in {unit})"
            what = f"{family}; " if "family" in report else ""
            said.append(f"kernel{of}: {what}{report['verdict']}: {report['why']}")
    return said


def _judgement(judged: Mapping[str, Any], of: str, *, found: bool) -> str:
    verdict, why = judged["verdict"], judged["why"]
    kernel = f"the kernel{of} that was found" if found else f"the given kernel{of}"
    if "pieces" in judged and not found:
        kernel = f"the field of kernels{of} that was given"
    if verdict == "nothing to deblur":
        return f"{kernel} is doubtful: {why}, so there may be nothing to deblur"
    says = {"believe": "is believed", "doubtful": "is doubtful"}.get(verdict, "was not judged")
    return f"{kernel} {says}: {why}"


def off_centre(kernel: Kernel) -> list[str]:
    """Report centres of mass that are off the middle; the image will be moved by as much."""
    said = []
    for c in range(kernel.array.shape[1]):
        z, y, x = kernel.centroid(0, c)
        if max(abs(z), abs(y), abs(x)) > OFF_CENTRE:
            of = f" of channel {c}" if kernel.array.shape[1] > 1 else ""
            said.append(
                f"the kernel's centre of mass{of} lies ({z:+.2f}, {y:+.2f}, {x:+.2f}) px (z, y, x) "
                "off its middle, and the image will be moved the other way, while pixels without "
                "data stay where they are: centre it (centre_kernel) if that is not meant"
            )
    return said
