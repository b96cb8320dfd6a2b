"""The widget Deblur: choose, look at a preview, run."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_deblur._napari.placing import spatial_kwargs
from napari_deblur._napari.previews import Previews
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur._napari.choices import Asking
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Deblur"]

TICK = 50  # ms


class Deblur(Previews):
    """Deblur an image layer: preview what is seen, or run on everything into a store."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._source: tuple[Any, tuple[Stack, Path | None]] | None = None
        self._run: Any = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self.run.clicked.connect(partial(self.plainly, self.start_run))
        self.idle("")

    def start_run(self) -> None:
        """Restore everything into a store: find an address first, then start the child."""
        from napari_deblur._napari.addressing import addressed

        layer, asking, stack = self.confirmed()
        if not self.output.text():
            raise ValueError('"save as" is empty: say where the result goes')
        output = Path(self.output.text()).expanduser().absolute()
        if output.suffix != ".zarr":
            raise ValueError(f'"{output.name}" should end in .deblur.zarr: results are zarr stores')
        key = (id(layer.data), stack.axes, stack.pixel_size)
        known = self._source[1] if self._source is not None and self._source[0] == key else None
        path = layer.source.path
        finding = addressed(stack, str(path) if path else None, preferences().folder, known)
        steps = _request(asking, stack, output, self.read_as(layer), self.plan_known, finding)
        then = partial(self._addressed, layer, stack, key)
        self.start("Run", steps, then, otherwise="Cancelled before the run began.")

    def _addressed(
        self, layer: Any, stack: Stack, key: Any, outcome: tuple[str, tuple[Stack, Path | None]]
    ) -> None:
        from napari_deblur._napari.runs import Run

        request, self._source = outcome[0], (key, outcome[1])
        copy = outcome[1][1]
        shown = stack.axes.replace("c", "") if stack.rgb else stack.axes
        spatial = spatial_kwargs(layer, self.letters(), shown)
        looks = {} if layer.rgb else {"colormap": layer.colormap, "gamma": layer.gamma}
        self._run = Run(self.viewer, request, spatial, stack.name, looks, copy, self.progress)
        self.begin("Run", self._run.cancel)
        self._timer.start(TICK)

    def _poll(self) -> None:
        if self._run is None:
            return
        going = self._run.poll()
        if self._run.plan:
            self.say_plan(self._run.plan)
            self._run.plan = ""
        if going:
            return
        self._timer.stop()
        run, self._run = self._run, None
        if run.error:
            self.fail(run.error)
        else:
            self.idle(self.status.text())


def _request(
    asking: Asking,
    stack: Stack,
    output: Path,
    read_as: tuple[Any, ...],
    known: tuple[Any, Plan] | None,
    finding: Generator[str, None, tuple[Stack, Path | None]],
) -> Generator[str, None, tuple[str, tuple[Stack, Path | None]]]:
    """Give the child's request as JSON, and where the pixels lie."""
    from napari_deblur._napari.addressing import must_be_writable

    must_be_writable(output.parent, 'choose another one under "save as"')
    ask = yield from asking
    found = yield from finding
    source = found[0].source
    assert source is not None
    plan = known[1] if known is not None and known[0] == (ask.key, *read_as) else None
    asked = ask.to_dict()
    # The plan in the store has the kernel's numbers already.
    job = asked | {"kernel": asked["kernel"] and asked["kernel"]["report"]}
    request = {
        "source": source.to_dict(),
        "described": {
            "name": stack.name,
            "time_step": stack.time_step,
            "pixel_size": stack.pixel_size,
        },
        "ask": asked,
        "plan": replace(plan, source=None).to_dict() if plan is not None else None,
        "output": str(output),
        "job": {"made_with": "napari", **job},
    }
    return json.dumps(request), found
