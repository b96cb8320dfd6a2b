"""A run as the viewer sees it: the child's messages become layers, a bar and sentences."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.adding import adding, look_at_all, turn_to
from napari_deblur._napari.addressing import is_kept
from napari_deblur._napari.belonging import store_of
from napari_deblur._napari.placing import picked_channels
from napari_deblur._napari.running import Child
from napari_deblur._napari.showing import (
    LayerData,
    image_layer,
    kernels_layer,
    limits_of,
    map_layers,
    method_name,
    restored_levels,
    role,
)
from napari_deblur._napari.speeds import Pace
from napari_deblur._napari.telling import details, said, scaled, sentence, verdicts
from napari_deblur._napari.window import cut_of

if TYPE_CHECKING:
    from napari_deblur._napari.seen import Seen
    from napari_deblur.results import Result

__all__ = ["Run"]

# Seconds between two refreshes, and the least share of time that is left to everything else.
PAUSE = 0.4
SHARE = 10
END = object()
# Voxels of a volume in 3-D: a larger one is drawn anew at the end only.
LARGE_VOLUME = 2**24


@dataclass
class Run:
    """Start the child and keep the viewer up to date; `poll` is called by a timer.

    Parameters
    ----------
    viewer : napari.Viewer
    request : mapping, or the same as JSON
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
    channels : ints or None
        Those of the image that are deblurred, where some are left out.
    """

    viewer: Any
    request: Mapping[str, Any] | str
    spatial: Mapping[str, Any]
    name: str
    looks: Mapping[str, Any]
    copy: Path | None
    tell: Callable[[str, int, int], None]
    channels: Sequence[int] | None = None
    error: str = ""
    details: str = ""
    costs: Mapping[str, Any] | None = None
    paused: bool = False
    done: tuple[int, int] = (0, 0)
    pace: Pace = field(default_factory=Pace)
    complete: bool = False
    _layers: dict[str, Any] = field(default_factory=dict)
    _views: dict[str, Seen] = field(default_factory=dict)
    _cut: dict[str, int] = field(default_factory=dict)
    _showing: Iterator[None] | None = None  # the steps that are left
    _stale: bool = False
    _next: float = 0.0
    _peak: float = 0.0
    _limits: tuple[float, ...] = ()
    _kept: SimpleNamespace | None = None
    _last: str = ""
    _verdicts: Sequence[str] = ()
    _begun: bool = False  # whether there is a tile
    _added: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._source = dict(self.spatial)
        self.spatial = picked_channels(self.spatial, self.channels)
        self._axes = "".join(self.spatial["axis_labels"])
        self.child = Child(self.request, self._hear)

    def cancel(self) -> None:
        """End the child; the next poll says so."""
        self.paused = False
        self.child.cancel()

    def go(self) -> None:
        """Let the child begin: it said what the run takes, and waits."""
        self.child.tell("go")

    def pause(self, *, yes: bool) -> None:
        """Let the child wait in its next iteration, or go on."""
        self.paused = yes
        self.pace.paused |= yes
        self.child.tell("pause" if yes else "resume")

    def poll(self) -> bool:
        """Show what was heard since the last time; False when it has ended."""
        going = True
        if self._showing is not None:
            if next(self._showing, END) is END:
                self._showing = None
            return True
        for message in self.child.messages():
            going = self._take(message) and going
            if self._showing is not None:
                break
        if "restored" in self._layers:
            self._refresh(now=not going)
        return going

    # In the thread that listens: opens and decodes, touches no layer.

    def _hear(self, message: dict[str, Any]) -> dict[str, Any]:
        if "output" in message:
            message |= self._open(message["output"])
        elif "progress" in message and message["progress"]["phase"] == "tiles":
            self._reload(message)
        elif "done" in message:
            from napari_deblur.results import open_result

            result = open_result(message["done"]["output"])
            if self._limits:
                message["limits"] = limits_of(result, self.looks.get("contrast_limits"))
                assert self._kept is not None
                self._kept.contrast_limits = message["limits"]
            self._remember(result)
        return message

    def _open(self, path: str) -> dict[str, Any]:
        from napari_deblur.results import open_result

        result = open_result(path)
        method = method_name(result)
        picked = self.channels
        levels = restored_levels(result, self._axes, picked)
        name = f"{self.name} restored [{method}]"
        image = image_layer(result, self.spatial, name=name, levels=levels, channels=picked)
        called = f"{self.name} kernels [{method}]"
        kernels = kernels_layer(result, self.spatial, name=called, channels=picked)
        self._views = {"restored": levels[0]}
        if result.plan.finds_kernels:
            self._views["kernels"] = kernels[0]
        image[1].update(self.looks)
        if not result.plan.layout.rgb:
            image[1]["contrast_limits"] = limits_of(result, self.looks.get("contrast_limits"))
            self._limits = image[1]["contrast_limits"]
        for view in (levels[0], kernels[0]):
            view[(0,) * (view.ndim - 2)]  # decoded before the window asks for it
        self._kept = SimpleNamespace(**{"rgb": False} | image[1])
        self._remember(result)
        maps = map_layers(result, self.spatial, name=self.name, channels=picked)
        layers = {
            "restored": image,
            "kernels": kernels,
            **{role(one[1]["metadata"]): one for one in maps},
        }
        plan = result.plan
        return {
            "layers": layers,
            "details": details(plan),
            "verdicts": [*verdicts(plan, self.channels), *scaled(plan)],
        }

    def _remember(self, result: Result) -> None:
        """Let what is read from the disk later, finished or not, lie and look as it does now."""
        from napari_deblur._napari.looks import looks_of, remember

        if self._kept is not None:
            with suppress(OSError):  # a full disk is the run's to tell
                remember(result, looks_of(self._kept))

    def _reload(self, message: dict[str, Any]) -> None:
        index = message["progress"]["index"]
        if index is None:
            return
        at = dict(zip("tczyx", index, strict=True))
        for name, view in self._views.items():
            rgb = view.ndim > len(self._axes)
            letters = self._axes + ("c" if rgb else "")
            chunk = view.shown(tuple(at[axis] for axis in letters))
            cut = self._cut
            inside = all(
                axis not in cut or cut[axis] // length == number
                for axis, length, number in zip(letters, view.chunks, chunk, strict=True)
            )
            if name == "kernels":  # small, and its peak sets the contrast
                peak = float(np.nan_to_num(view.reload(chunk)).max())
                self._peak = max(self._peak, peak)
            elif inside:
                view.reload(chunk)
            else:
                view.drop(chunk)
            message["seen"] = message.get("seen", False) or inside

    # In the window's thread.

    def _take(self, message: dict[str, Any]) -> bool:
        if "say" in message:
            self.tell(sentence(message["say"]), 0, 0)
        if "ready" in message:
            self.costs = message["ready"]
        if "layers" in message:
            self._showing = self._steps(message["layers"])
            self.details, self._verdicts = message["details"], message["verdicts"]
        if "progress" in message:
            progress = message["progress"]
            self._stale |= bool(message.get("seen"))
            self._begun |= progress["phase"] != "tiles" or progress["done"] > 0
            self.pace.hear(progress)
            self._last = said(progress)
            self.done = progress["done"], progress["total"]
            self.tell(self._last, progress["done"], progress["total"])
        if "step" in message:
            self._say_step(**message["step"])
        if "error" in message:
            self.error = message["error"]
        if "done" in message:
            self.complete = message["done"]["phase"] == "complete"
            note = message["done"]["note"]
            self._last = f"{sentence(note) if note else 'Done'}: {message['done']['output']}"
            emptied = message["done"]["emptied"]
            lost = [f"{emptied} voxels that had data have none now."] if emptied else []
            if not note or self.complete:
                self._last = "\n".join([self._last, *self._verdicts, *lost])
            self._stale = True
            restored = self._layers.get("restored")
            if restored is not None and tuple(restored.contrast_limits) == self._limits:
                # Unless the user chose others; of a run that was cancelled none are looked for.
                restored.contrast_limits = message.get("limits", self._limits)
        if "ended" not in message:
            return True
        self.error = self.error or message["ended"]
        if self.copy is not None and self.complete and not is_kept(self.copy):
            shutil.rmtree(self.copy, ignore_errors=True)
        if self.child.cancelled and not self.complete:  # it may have been done by then
            self._last = (
                f"Cancelled ({self._last}). What is done is kept; Run goes on from there."
                if self._begun
                else "Cancelled before anything was restored."
            )
        if not self._begun:
            self._take_away()
        self.tell(self.error or self._last, 0, 1)
        return False

    def _say_step(self, count: int, of: int | None) -> None:
        """Tell how far it is within a tile; where there is one only, the bar shows it."""
        done, total = self.done
        if done >= total:
            return
        known = of if of is not None and count <= of else 0
        text = f"{self._last} (iteration {count}{f' of {known}' if known else ''})"
        self.tell(text, *((count if known else 0, known) if total == 1 else (done, total)))

    def _steps(self, layers: Mapping[str, LayerData]) -> Iterator[None]:
        """Add layers, or renew those that there are; between the steps the window breathes."""
        for which, (data, kwargs, _) in layers.items():
            store = kwargs["metadata"]["deblur"]["store"]
            # A run that goes on writes into a store that may be shown already.
            known = [
                layer
                for layer in self.viewer.layers
                if store_of(layer) == store and role(layer.metadata) == which
            ]
            shown = yield from adding(self.viewer, data, kwargs, known[0] if known else None)
            self._layers[which] = shown
            if shown not in known:
                self._added.append(shown)
            yield
            restored = self._layers["restored"]
            if restored not in self.viewer.layers:  # taken away by now
                continue
            if which == "restored" and self.channels is not None:
                turn_to(self.viewer, restored, self._source, self.channels)
            if which == "kernels" and not known:
                look_at_all(self.viewer, restored)
            self.viewer.layers.selection.active = restored
            yield

    def _take_away(self) -> None:
        """Remove the layers that this run added; the next run takes the kernel from the disk."""
        for layer in self._added:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def _takes_long(self) -> bool:
        """Whether a refresh would read a large volume, for which the window would wait."""
        view, shown = self._views.get("restored"), self.viewer.dims.displayed
        if view is None or len(shown) < 3:
            return False
        axes = [axis - self.viewer.dims.ndim + len(self._axes) for axis in shown]
        return bool(prod(view.shape[a] for a in axes if a >= 0) > LARGE_VOLUME)

    def _refresh(self, *, now: bool) -> None:
        layer = self._layers["restored"]
        if layer not in self.viewer.layers:
            return
        self._cut = cut_of(self.viewer, layer, self._axes)
        start = monotonic()
        kernels = self._layers.get("kernels")
        if kernels is not None and self._peak > kernels.contrast_limits[1]:
            kernels.contrast_limits = (0.0, self._peak)
        if not self._stale or (start < self._next and not now):
            return
        if self._takes_long() and not now:
            return
        self._stale = False
        for shown in self._layers.values():
            if shown in self.viewer.layers:
                shown.refresh()
        took = monotonic() - start
        self._next = monotonic() + max(PAUSE, SHARE * took)
