"""A run as the viewer sees it: the child's messages become layers, a bar and sentences."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_deblur._napari.running import Child
from napari_deblur._napari.showing import (
    LayerData,
    image_layer,
    kernels_layer,
    method_name,
    restored_levels,
)
from napari_deblur._napari.window import cut_of

if TYPE_CHECKING:
    from napari_deblur._napari.seen import Seen

__all__ = ["Run", "free_name", "said"]

# Seconds between two refreshes, and the least share of time that is left to everything else.
PAUSE = 0.4
SHARE = 10


@dataclass
class Run:
    """Start the child and keep the viewer up to date; `poll` is called by a timer.

    Parameters
    ----------
    viewer : napari.Viewer
    request : mapping
        For the child.
    spatial : mapping
        Where the layers go.
    name : str
        Of the image.
    looks : mapping
        What else the restored layer takes over from the original, such as its colormap.
    copy : Path or None
        A copy of the pixels, to be removed when the run is complete.
    tell : function of (text, done, total)
    """

    viewer: Any
    request: Mapping[str, Any]
    spatial: Mapping[str, Any]
    name: str
    looks: Mapping[str, Any]
    copy: Path | None
    tell: Callable[[str, int, int], None]
    error: str = ""
    complete: bool = False
    _layers: dict[str, Any] = field(default_factory=dict)
    _views: dict[str, Seen] = field(default_factory=dict)
    _cut: dict[str, int] = field(default_factory=dict)
    _stale: bool = False
    _next: float = 0.0
    _last: str = ""

    def __post_init__(self) -> None:
        self._axes = "".join(self.spatial["axis_labels"])
        self.child = Child(self.request, self._hear)

    def cancel(self) -> None:
        """End the child; the next poll says so."""
        self.child.cancel()

    def poll(self) -> bool:
        """Show what was heard since the last time; False when it has ended."""
        going = True
        for message in self.child.messages():
            going = self._take(message) and going
        if "restored" in self._layers:
            self._refresh(now=not going)
        return going

    # In the thread that listens: opens and decodes, touches no layer.

    def _hear(self, message: dict[str, Any]) -> dict[str, Any]:
        if "output" in message or "done" in message:
            path = message["output"] if "output" in message else message["done"]["output"]
            message["layers"] = self._open(path)
        elif "progress" in message and message["progress"]["phase"] == "tiles":
            self._reload(message)
        return message

    def _open(self, path: str) -> dict[str, LayerData]:
        from napari_deblur.results import open_result

        result = open_result(path)
        method = method_name(result)
        levels = restored_levels(result)
        name = f"{self.name} restored [{method}]"
        image = image_layer(result, self.spatial, name=name, levels=levels)
        kernels = kernels_layer(result, self.spatial, name=f"{self.name} kernels [{method}]")
        self._views = {"restored": levels[0]}
        if result.plan.finds_kernels:
            self._views["kernels"] = kernels[0]
        if not result.plan.layout.rgb:
            image[1].update(self.looks)
        if result.complete:
            for view in (levels[0], kernels[0]):
                view[(0,) * (view.ndim - 2)]  # decoded before the window asks for it
        return {"restored": image, "kernels": kernels}

    def _reload(self, message: dict[str, Any]) -> None:
        index = message["progress"]["index"]
        if index is None:
            return
        at = dict(zip("tczyx", index, strict=True))
        for view in self._views.values():
            rgb = view.ndim > len(self._axes)
            letters = self._axes + ("c" if rgb else "")
            chunk = tuple(at[axis] for axis in letters)
            cut = self._cut
            inside = all(
                axis not in cut or cut[axis] // length == number
                for axis, length, number in zip(letters, view.chunks, chunk, strict=True)
            )
            if inside:
                view.reload(chunk)
                message["seen"] = True
            else:
                view.drop(chunk)

    # In the window's thread.

    def _take(self, message: dict[str, Any]) -> bool:
        if "say" in message:
            self.tell(_sentence(message["say"]), 0, 0)
        if "layers" in message:
            self._show(message["layers"])
        if "progress" in message:
            progress = message["progress"]
            self._stale |= bool(message.get("seen"))
            self._last = said(progress)
            self.tell(self._last, progress["done"], progress["total"])
        if "error" in message:
            self.error = message["error"]
        if "done" in message:
            self.complete = message["done"]["phase"] == "complete"
            self._last = message["done"]["note"] or f"Done: {message['done']['output']}"
            self._stale = True
        if "ended" not in message:
            return True
        self.error = self.error or message["ended"]
        if self.copy is not None and self.complete:
            shutil.rmtree(self.copy, ignore_errors=True)
        if self.child.cancelled:
            self._last = f"Cancelled ({self._last}). What is done is kept; Run goes on from there."
        self.tell(self.error or self._last, 0, 1)
        return False

    def _show(self, made: Mapping[str, LayerData]) -> None:
        store = made["restored"][1]["metadata"]["deblur"]["store"]
        # Layers of the same store, of a run that is continued or now finished, are these.
        old = [
            layer
            for layer in self.viewer.layers
            if layer.metadata.get("deblur", {}).get("store") == store
        ]
        hidden = {layer.name for layer in old if not layer.visible}
        for layer in old:
            self.viewer.layers.remove(layer)
        for which, (data, kwargs, _) in made.items():
            name = free_name(self.viewer, kwargs["name"])
            layer = self.viewer.add_image(data, **{**kwargs, "name": name})
            layer.visible = name not in hidden
            self._layers[which] = layer
        self.viewer.layers.selection.active = self._layers["restored"]

    def _refresh(self, *, now: bool) -> None:
        layer = self._layers["restored"]
        if layer not in self.viewer.layers:
            return
        self._cut = cut_of(self.viewer, layer, self._axes)
        start = monotonic()
        if not self._stale or (start < self._next and not now):
            return
        self._stale = False
        for shown in self._layers.values():
            if shown in self.viewer.layers:
                shown.refresh()
        took = monotonic() - start
        self._next = monotonic() + max(PAUSE, SHARE * took)


def free_name(viewer: Any, name: str) -> str:
    """Give a name that no layer has: an earlier run's layers stay."""
    taken = {layer.name for layer in viewer.layers}
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def said(progress: Mapping[str, Any]) -> str:
    """Say in one line how far a run is."""
    what = {"tiles": "tile", "pyramid": "lower resolutions, chunk"}.get(progress["phase"])
    if what is None:
        return _sentence(progress["note"] or progress["phase"])
    text = f"{what} {progress['done']} of {progress['total']}"
    if progress["eta"] is not None and progress["done"] < progress["total"]:
        text += f", about {_duration(progress['eta'])} left"
    if progress["failed"]:
        text += f", {progress['failed']} failed"
    return _sentence(text + (f": {progress['note']}" if progress["note"] else ""))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
