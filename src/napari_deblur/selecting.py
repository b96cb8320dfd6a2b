"""What of an input a job takes: frames, channels and a region, in the words of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_deblur import words

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.stack import Stack

__all__ = ["opened"]


def opened(job: Job) -> Stack:
    """Open what a job restores: the frames, channels and region that it asks for."""
    from napari_deblur.opening import open_stack

    pixel_size: Any = job.pixel_size
    stack = open_stack(
        job.input,
        job.axes,
        pixel_size,
        series=job.series,
        level=job.level,
        field=job.field,
        sparse=job.sparse,
    )
    times = None if job.times is None else _times(stack, job.times)
    keys = job.channels
    channels = None if keys is None else [_channel(stack, key) for key in keys]
    region: Any = None if job.region is None else words.spans(job.region, stack.shape[2:])
    if times is None and channels is None and region is None:
        return stack
    return stack.selected(times=times, channels=channels, region=region)


def _times(stack: Stack, text: str) -> tuple[int, ...]:
    try:
        return words.indices(text, stack.shape[0], "time")
    except ValueError as error:
        if "t" in stack.axes:
            raise
        raise ValueError(
            f'{error}: it has no axis t: leave times out, or name the axes, e.g. axes="tyx"'
        ) from error


def _channel(stack: Stack, key: int | str) -> int:
    names = [channel.name for channel in stack.channels]
    if isinstance(key, str) and key in names:
        return names.index(key)
    if str(key).isdecimal() and int(key) < len(names):
        return int(key)
    known = ", ".join(filter(None, names)) or "none has a name"
    raise ValueError(f'there is no channel "{key}": the stack has {len(names)} (from 0; {known})')
