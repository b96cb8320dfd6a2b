"""From an array and what its file says of it to a `Stack`: the last step of every reader."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from napari_deblur.stack import AXES, Channel, Optics, Pixels, Source, Stack

__all__ = ["Found", "build_stack", "chosen_axes", "only", "stored_in"]

EXAMPLES = {3: "zyx", 4: "czyx", 5: "tczyx"}
COLOURS = (
    Channel("red", "#ff0000"),
    Channel("green", "#00ff00"),
    Channel("blue", "#0000ff"),
    Channel("alpha", "#ffffff"),
)


@dataclass(frozen=True)
class Found:
    """What the metadata of a file say; None and () where they say nothing."""

    pixel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    time_step: float | None = None
    channels: tuple[Channel, ...] = ()
    optics: Optics = field(default_factory=Optics)


def chosen_axes(given: str | None, stated: str | None, shape: tuple[int, ...]) -> str:
    """Give one letter out of tczyxs for each axis: what the user says, else what the file says.

    `stated` may hold other letters: those are axes that nobody can name but the user.

    Raises
    ------
    ValueError
        When the letters do not fit the shape, or when there are none and the shape does not tell.
    """
    ndim = len(shape)
    if given is None and stated is None and ndim == 2:
        stated = "yx"
    axes = (given if given is not None else stated or "").lower()
    example = EXAMPLES.get(ndim, "yx")
    if given is None and (not axes or not set(axes) <= set("tczyxs")):
        unsaid = f"its axes are not stated (as read: {stated})" if stated else "no axes are stated"
        way = f'name them, e.g. axes="{example}"' if ndim <= 5 else "take a part with at most five"
        raise ValueError(f"the image has shape {shape} and {unsaid}: {way}")
    doubled = [letter for letter, count in Counter(axes).items() if count > 1]
    strange = sorted(set(axes) - set("tczyxs"))
    if len(axes) != ndim or doubled or strange or not {"y", "x"} <= set(axes):
        raise ValueError(
            f'axes="{axes}" do not fit an image of shape {shape}: give one letter for each axis, '
            f"y and x and any of t, c, z or s (colour samples), each once, e.g. "
            f'axes="{example}"'
        )
    if {"c", "s"} <= set(axes):
        raise ValueError(
            f'the image has both channels and colour samples (axes "{axes}", shape {shape}), '
            "but colours must be channels: save it without colour or each channel by itself"
        )
    return axes


def build_stack(
    source: Source | None,
    base: Any,
    axes: str,
    found: Found,
    *,
    stated: str = "",
    pixel_size: tuple[float | None, float | None, float | None] | None = None,
    levels: int = 1,
    name: str = "stack",
) -> Stack:
    """Give the stack of an array whose axes are known.

    Parameters
    ----------
    source : Source or None
    base : anything with shape, dtype and basic indexing
    axes : str
        As `chosen_axes` gives them.
    found : Found
        What the file says; `pixel_size` of the user, or of `source`, goes before.
    stated : str
        What the file calls the axes: its voxel sizes belong to those, whatever the user calls them.
    pixel_size : (z, y, x) in µm, or None
    levels : int
        Number of resolutions that the file holds.
    name : str
        For a stack without a source.
    """
    samples = base.shape[axes.index("s")] if "s" in axes else 0
    pixels = Pixels(base, axes.replace("s", "c"))
    count = pixels.shape[1]
    given = (source.pixel_size if source is not None else pixel_size) or (None, None, None)
    said: dict[str, float | None] = dict(zip("zyx", found.pixel_size, strict=True))
    if stated:  # the distance of planes is that of frames, too, where the file has no z
        said |= {new: said.get(old) for old, new in zip(stated, axes, strict=True) if old in said}
    read = [said[axis] if axis in axes else None for axis in "zyx"]
    z, y, x = (g if g is not None else r for g, r in zip(given, read, strict=True))
    described = COLOURS[:samples] if samples in (3, 4) else found.channels
    return Stack(
        pixels,
        "".join(axis for axis in AXES if axis in pixels.axes),
        pixel_size=None if z is None and y is None and x is None else (z, y, x),
        channels=described if len(described) == count else (),
        optics=found.optics,
        time_step=found.time_step if "t" in axes else None,
        rgb=samples in (3, 4),
        source=source,
        name=name if source is None else _name_of(source.address),
        levels=levels,
    )


def _name_of(address: str) -> str:
    path = urlsplit(address).path if "://" in address else address
    name = PurePath(path.rstrip("/")).name
    bare = name[: -len(PurePath(name).suffix)] if PurePath(name).suffix else name
    return bare.removesuffix(".ome").removesuffix(".deblur") or name or "stack"


def only(source: Source, *, series: bool = False, level: bool = False, field: bool = False) -> None:
    """Refuse a series, level or field that this kind of file does not have."""
    asked = [
        ("series", series, source.series or 0),
        ("level", level, source.level),
        ("field", field, source.field or 0),
    ]
    for what, possible, value in asked:
        if value and not possible:
            raise ValueError(
                f'{what}={value!r} was asked for but "{source.address}" has only one image '
                f"of one resolution: leave {what} out"
            )


def stored_in(source: Source, reader: str, fingerprint: str) -> Source:
    """Give the source as the reader leaves it in the stack: whole, with its fingerprint."""
    return replace(
        source, reader=reader, fingerprint=fingerprint, times=None, channels=None, region=None
    )
