"""Make the pictures of the documentation: the widget, a preview, a finished run.

    NAPARI_ASYNC=0 xvfb-run -a -s "-screen 0 1400x1000x24" python docs/screenshots.py

They go to docs/images; look at them before they are committed.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "napari.yaml")
os.environ["NAPARI_ASYNC"] = "0"

from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication

import napari

IMAGES = Path(__file__).parent / "images"
SIZE = (1280, 800)


def main() -> None:
    """Open the sample, preview, run; a picture after each."""
    scratch = Path(tempfile.mkdtemp())
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-deblur", "chromosomes")
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    viewer.window.resize(*SIZE)
    viewer.canvas.overlays.scale_bar.visible = True
    widget.output.line.setText(str(scratch / "chromosomes.deblur.zarr"))
    wait(1)
    viewer.reset_view()
    shot(viewer, "widget")

    widget.preview.click()
    wait_until(lambda: not widget.cancel.isEnabled() and len(viewer.layers) == 3)
    shot(viewer, "preview")

    for name in ("chromosomes preview", "chromosomes preview kernel"):
        viewer.layers.remove(name)
    widget.run.click()
    wait_until(lambda: not widget.cancel.isEnabled())
    shot(viewer, "run")
    viewer.close()
    shutil.rmtree(scratch)


def wait(seconds: float) -> None:
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(done: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + seconds
    while not done():
        wait(0.02)
        if time.monotonic() > end:
            sys.exit("it took too long")


def shot(viewer: "napari.Viewer", name: str) -> None:
    """Save what the window shows."""
    wait(1)
    wait_until(lambda: all(layer.loaded for layer in viewer.layers))
    path = IMAGES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    viewer.status = ""
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB888)
    image.save(str(path), "PNG", 0)
    print(path, image.width(), image.height(), path.stat().st_size)


if __name__ == "__main__":
    main()
