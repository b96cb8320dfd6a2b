"""The preview over its image: layers that are added once, and swept aside to compare."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_deblur._napari.adding import free_name
from napari_deblur._napari.placing import PLACE, part_of, same_place

if TYPE_CHECKING:
    from napari_deblur._napari.showing import LayerData

__all__ = ["Overlay"]

ROLES = ("image", "kernel")
APART = 50  # ms


class Overlay:
    """The two layers of a preview: what was restored, and its kernel.

    They are added once, because that takes napari 0.1 to 0.3 s; then they are given new data.
    Contrast stays as it was first, so that what changes is seen; with another image it is chosen
    anew.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.share = 0.0
        self.before = False
        self.hidden = False
        self._made: dict[str, LayerData] = {}
        self._of: Any = None
        self._limits: dict[str, tuple[float, ...]] = {}
        self._covering: list[Any] = []  # results that are hidden while the image is looked at

    def layer(self, role: str) -> Any:
        """Give the layer "image" or "kernel" or the outline, "region"; None if there is none."""
        for layer in self.viewer.layers:
            if layer.metadata.get("deblur", {}).get("preview") == role:
                return layer
        return None

    def show(self, made: list[LayerData]) -> None:
        """Show what was made, image and kernel."""
        covered, self.hidden = self.hidden, False
        self._made = dict(zip(ROLES, made, strict=True))
        of = _identity(made[0][1])
        fresh, self._of = of != self._of, of
        missing = [role for role in ROLES if self.layer(role) is None]
        for role in ROLES:
            if role not in missing:
                self._renew(self.layer(role), role, fresh=fresh)
        if missing:
            QTimer.singleShot(0, partial(self._add, *missing))
        if covered:
            self._raise()

    def swipe(self, share: float) -> None:
        """Take a share of the preview away, from the left: the image is seen there."""
        self.share, self.hidden = min(max(share, 0.0), 1.0), False
        layer = self.layer("image")
        if layer is not None and "image" in self._made:
            self._renew(layer, "image", fresh=False)

    def look(self, *, before: bool) -> None:
        """Show the image as it was, or the preview over it."""
        self.before, self.hidden = before, False
        self._set_visible()

    def hide(self) -> None:
        """Hide both layers, until there is something new to show."""
        self.hidden = True
        self._set_visible()

    def clear(self) -> None:
        """Take both layers away, a moment later: the list of layers may be changing just now."""
        gone = [layer for layer in map(self.layer, ROLES) if layer is not None]
        self._made, self._of, self._limits = {}, None, {}
        self.share, self.before, self.hidden = 0.0, False, False
        QTimer.singleShot(0, partial(self._remove, gone))

    def _remove(self, layers: list[Any]) -> None:
        for layer in layers:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._uncover()

    def drop(self) -> None:
        """Add nothing any more of what was made: the window is being closed."""
        self._made = {}

    def _add(self, role: str, *others: str) -> None:
        """Add a layer, and others a moment after: the window answers in between."""
        if role not in self._made:
            return
        if self.layer(role) is not None:
            self._renew(self.layer(role), role, fresh=True)
        else:
            self._put(role)
        if others:
            QTimer.singleShot(2 * APART, partial(self._add, *others))

    def _put(self, role: str) -> None:
        data, kwargs = self._cut(role)
        active = self.viewer.layers.selection.active
        layer = self.viewer.add_image(
            data, **{**kwargs, "name": free_name(self.viewer, kwargs["name"])}
        )
        self._limits[role] = tuple(layer.contrast_limits)
        QTimer.singleShot(APART, partial(self._settle, active))

    def _settle(self, active: Any) -> None:
        """Leave the active layer as it was; a step of its own, as adding takes the window long."""
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        self._set_visible()
        self._raise()

    def _raise(self) -> None:
        """Put the preview over all else, and its outline over the preview."""
        for role in ("image", "region", "kernel"):
            layer = self.layer(role)
            if layer is not None and self.viewer.layers[-1] is not layer:
                self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))

    def _renew(self, layer: Any, role: str, *, fresh: bool) -> None:
        data, kwargs = self._cut(role)
        if (layer.ndim, layer.rgb) != (len(kwargs["scale"]), kwargs.get("rgb", False)):
            self.viewer.layers.remove(layer)
            self._add(role)
            return
        layer.data = data
        for name in PLACE if fresh else ("scale", "translate"):
            if name in kwargs and not same_place(getattr(layer, name), kwargs[name]):
                setattr(layer, name, kwargs[name])
        layer.metadata = kwargs["metadata"]
        own = self._limits.get(role) == tuple(layer.contrast_limits)  # nobody chose others
        if "contrast_limits" in kwargs and (fresh or (role == "kernel" and own)):
            layer.contrast_limits = kwargs["contrast_limits"]
            self._limits[role] = tuple(layer.contrast_limits)
        if fresh and role == "image":
            layer.name = kwargs["name"]
            for look in ("colormap", "gamma"):
                if look in kwargs:
                    setattr(layer, look, kwargs[look])
        self._set_visible()

    def _set_visible(self) -> None:
        for role in ROLES:
            layer = self.layer(role)
            if layer is None:
                continue
            gone = self.hidden or self.before or (role == "image" and self._swept() is None)
            if layer.visible == gone:
                layer.visible = not gone
        self._uncover()

    def _uncover(self) -> None:
        """Hide other results of the image while it is compared with; show them again after."""
        if self.layer("image") is not None and not self.hidden and (self.before or self.share):
            for layer in self.viewer.layers:
                about = layer.metadata.get("deblur", {})
                own = not about or "preview" in about or "kernel_pixel_size" in layer.metadata
                if layer.visible and not own:
                    layer.visible = False
                    self._covering.append(layer)
            return
        covering, self._covering = self._covering, []
        for layer in covering:
            if layer in self.viewer.layers:
                layer.visible = True

    def _swept(self) -> int | None:
        """Give how many columns are swept aside; None for all."""
        if "image" not in self._made:
            return 0
        data, kwargs, _kind = self._made["image"]
        axis = list(kwargs["axis_labels"]).index("x")
        width = data.shape[axis]
        column = round(self.share * width)
        return None if column >= width else column

    def _cut(self, role: str) -> tuple[Any, dict[str, Any]]:
        """Give data and place, without what is swept aside."""
        data, kwargs, _ = self._made[role]
        metadata = {**kwargs["metadata"]}
        metadata["deblur"] = {**metadata["deblur"], "preview": role}
        kwargs = {**kwargs, "metadata": metadata}
        column = self._swept() if role == "image" else 0
        if not column:
            return data, kwargs
        axis = list(kwargs["axis_labels"]).index("x")
        starts = [column if a == axis else 0 for a in range(len(kwargs["scale"]))]
        cut = tuple(slice(start, None) for start in starts)
        return data[cut], part_of(kwargs, starts)


def _identity(kwargs: Mapping[str, Any]) -> Any:
    """Tell the image that a preview is of, and how it lies."""
    turned = [np.asarray(kwargs[name]).tolist() for name in ("rotate", "shear") if name in kwargs]
    return (
        kwargs["name"],
        tuple(kwargs["scale"]),
        tuple(map(str, kwargs["units"])),
        tuple(kwargs["axis_labels"]),
        repr(turned),
        kwargs.get("rgb", False),
    )
