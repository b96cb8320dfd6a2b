"""The rectangle that says where the preview is: drawn, dragged and resized in the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_deblur._napari.placing import PLACE, same_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.tiles import Box

__all__ = ["Region", "placed"]

NAME = "preview region"
SHARE = 0.6  # of what is seen, at first and at the most
EDGE = 1 / 200  # of the rectangle's longer side
Span = tuple[int, int]


class Region:
    """A layer with one rectangle, in pixels of an image's y and x.

    Once there, it is hidden and shown again: where a layer of shapes was removed, vispy 0.17 lets
    some drivers crash, and napari with them, when the next one is drawn.

    Parameters
    ----------
    viewer : napari.Viewer
    moved : function
        Called whenever the rectangle is another, or gone.
    """

    def __init__(self, viewer: Any, moved: Callable[[], None]) -> None:
        self.viewer, self._moved = viewer, moved
        self._layer: Any = None
        self._last: NDArray[np.float64] | None = None
        self._busy = self._on = False

    @property
    def shown(self) -> bool:
        """Whether there is a rectangle in the viewer."""
        return self._on and self._there

    def show(self, image: Any, axes: str, seen: Box, side: int = 256) -> None:
        """Draw the rectangle in the middle of what is seen of an image, and let it be dragged.

        Parameters
        ----------
        image : Image layer
        axes : str
            Its letters.
        seen : ((start, stop), …) for z, y, x
        side : int
            Pixels at the most.

        Raises
        ------
        ValueError
            When the image has no plane that a rectangle can lie in.
        """
        if self.shown:
            return
        kwargs = placed(image, axes)
        if kwargs is None:
            raise ValueError(
                "a region needs y and x as the last two axes, not turned out of their plane: "
                "the preview shows what is on the screen"
            )
        corners = _corners(*(_middle(span, side) for span in seen[1:]))
        width = max(0.3, EDGE * float(np.ptp(corners, axis=0).max()))
        self._on = self._busy = True
        try:
            if not self._there:
                self._layer = self._known() or self._added(corners, width, kwargs)
                self._layer.events.data.connect(self._changed)
                self._layer.events.set_data.connect(self._changed)
            self._show_again(corners, width, kwargs)
            self._layer.mode = "select"
            self._layer.selected_data = {0}
        finally:
            self._busy = False
        self._last = self._rectangle()

    @property
    def _there(self) -> bool:
        """Whether the layer is there, perhaps hidden."""
        return self._layer is not None and self._layer in self.viewer.layers

    def _known(self) -> Any:
        """Give the layer that a widget left here whose dock was closed, or None."""
        for layer in self.viewer.layers:
            if layer.metadata.get("deblur", {}).get("preview") == "region":
                return layer
        return None

    def _added(self, corners: Any, width: float, kwargs: dict[str, Any]) -> Any:
        return self.viewer.add_shapes(
            [corners],
            shape_type="rectangle",
            name=NAME,
            edge_color="yellow",
            face_color="transparent",
            edge_width=width,
            metadata={"deblur": {"preview": "region"}},
            **kwargs,
        )

    def _show_again(self, corners: Any, width: float, kwargs: dict[str, Any]) -> None:
        layer, layers = self._layer, self.viewer.layers
        if not _equal(np.asarray(layer.data[-1]) if layer.data else None, corners):
            layer.selected_data = set()
            layer.data = [corners]
            layer.edge_width = width
        self._lie_on(kwargs)
        layer.visible = True
        layers.move(layers.index(layer), len(layers))
        layers.selection.active = layer

    def remove(self) -> None:
        """Take the rectangle away: its layer is hidden."""
        self._on, self._last = False, None
        if self._there:
            self._busy = True
            try:
                self._layer.visible = False
            finally:
                self._busy = False

    def drop(self) -> None:
        """Leave nothing: there is no image any more that it could lie on."""
        if self._there:
            self.viewer.layers.remove(self._layer)
        self._on, self._layer = False, None

    def spans(self, image: Any, axes: str) -> tuple[Span, Span] | None:
        """Give (start, stop) along y and x; None where the whole screen is meant.

        Raises
        ------
        ValueError
            When the rectangle lies beside the image.
        """
        kwargs = placed(image, axes)
        corners = self._rectangle()
        if kwargs is None or corners is None:
            return None
        self._lie_on(kwargs)
        shape = (image.data[0] if image.multiscale else image.data).shape
        found = []
        rows = zip(corners.min(axis=0), corners.max(axis=0), shape[image.ndim - 2 :], strict=False)
        for low, high, size in rows:
            start, stop = max(0, round(low + 0.5)), min(int(size), round(high + 0.5))
            if stop <= start:
                raise ValueError("the region lies beside the image: drag it onto the image")
            found.append((start, stop))
        return found[0], found[1]

    def _rectangle(self) -> NDArray[np.float64] | None:
        """Give the corners of what was drawn last."""
        if not self.shown or not len(self._layer.data):
            return None
        corners: NDArray[np.float64] = np.asarray(self._layer.data[-1], float)[:, -2:]
        return corners

    def follow(self, image: Any, axes: str) -> None:
        """Lie on an image that was moved or turned, or whose pixels have another size.

        Also while it is hidden: layers of other units spoil how napari draws all of them.
        """
        kwargs = placed(image, axes) if self._there else None
        if kwargs is not None:
            self._lie_on(kwargs)

    def _lie_on(self, kwargs: dict[str, Any]) -> None:
        for name in PLACE:
            if not same_place(getattr(self._layer, name), kwargs[name]):
                setattr(self._layer, name, kwargs[name])

    def _changed(self, event: Any = None) -> None:
        """Say that it moved; a layer says so too when it is only drawn again."""
        if self._busy:
            return
        if str(getattr(event, "action", "")) in ("changed", "added", "removed"):  # no more a drag
            QTimer.singleShot(0, self._straighten)
        corners = self._rectangle()
        if not _equal(corners, self._last):
            self._last = corners
            self._moved()

    def _straighten(self) -> None:
        """Make one upright rectangle of whole pixels out of what was drawn."""
        corners = self._rectangle()
        if corners is None:
            return
        low, high = (np.round(v + 0.5) - 0.5 for v in (corners.min(axis=0), corners.max(axis=0)))
        wanted = _corners(*((a, max(b, a + 1)) for a, b in zip(low, high, strict=True)))
        known = {tuple(corner) for corner in np.round(corners, 3)}
        if len(self._layer.data) == 1 and known == {tuple(c) for c in np.round(wanted, 3)}:
            return
        self._busy = True
        try:
            self._layer.selected_data = set()
            self._layer.data = [wanted]
            self._layer.selected_data = {0}
        finally:
            self._busy = False
        self._last = self._rectangle()
        self._moved()


def _equal(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(np.array_equal(one, other))


def placed(image: Any, axes: str) -> dict[str, Any] | None:
    """Give where a flat layer over an image's y and x lies; None where that is no flat place.

    A layer of two axes lies on the last two of the viewer, on every plane. An image that is turned
    or sheared within its planes takes the layer with it.
    """
    n = image.ndim
    if n < 2 or axes[-2:] != "yx":
        return None
    rotate, affine = np.asarray(image.rotate, float), np.asarray(image.affine.affine_matrix, float)
    shear = np.eye(n)
    shear[np.triu_indices(n, 1)] = np.ravel(image.shear)
    for matrix in (rotate, shear, affine[:n, :n]):
        if np.abs(matrix[: n - 2, n - 2 :]).max(initial=0) > 1e-9:
            return None
        if np.abs(matrix[n - 2 :, : n - 2]).max(initial=0) > 1e-9:
            return None
    return {
        "scale": tuple(float(v) for v in image.scale[n - 2 :]),
        "translate": tuple(float(v) for v in image.translate[n - 2 :]),
        "rotate": rotate[n - 2 :, n - 2 :],
        "shear": [float(shear[n - 2, n - 1])],
        "affine": affine[n - 2 :, n - 2 :],
        "units": tuple(str(unit) for unit in image.units[n - 2 :]),
        "axis_labels": tuple(axes[-2:]),
    }


def _middle(span: Span, side: int) -> tuple[float, float]:
    """Give the edges of some whole pixels in the middle of a span."""
    length = min(side, max(1, round(SHARE * (span[1] - span[0]))))
    start = (span[0] + span[1] - length) // 2
    return start - 0.5, start + length - 0.5


def _corners(y: tuple[float, float], x: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([(y[0], x[0]), (y[0], x[1]), (y[1], x[1]), (y[1], x[0])], float)
