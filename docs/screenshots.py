"""Make the pictures of the documentation: the widget, a preview, a finished run.

    NAPARI_ASYNC=0 xvfb-run -a -s "-screen 0 1400x1000x24" python docs/screenshots.py

They go to docs/images; look at them before they are committed.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "napari.yaml"))
os.environ["NAPARI_ASYNC"] = "0"

import napari
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication

IMAGES = Path(__file__).parent / "images"
SIZE = (1280, 800)


def main() -> None:
    """Open the sample, preview, run; a picture after each."""
    scratch = Path(tempfile.mkdtemp())
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-deblur", "embryo")
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    viewer.window.resize(*SIZE)
    widget.output.line.setText(str(scratch / "embryo.deblur.zarr"))
    wait(1)
    viewer.fit_to_view() if hasattr(viewer, "fit_to_view") else viewer.reset_view()
    wait(0.5)
    shot(viewer, "widget")

    widget.preview.click()
    wait_until(lambda: not widget.cancel.isEnabled())
    shot(viewer, "preview")

    viewer.layers.remove("embryo preview")
    viewer.layers.remove("embryo preview kernel")
    widget.run.click()
    wait_until(lambda: widget.bar.maximum() > 0 or not widget.cancel.isEnabled())
    wait_until(lambda: not widget.cancel.isEnabled())
    print(widget.status.text(), list(viewer.layers))
    if len(viewer.layers) > 1:
        zoom_on_kernel(viewer)
    shot(viewer, "run")
    viewer.close()


def zoom_on_kernel(viewer: "napari.Viewer") -> None:
    """Show the restored image beside the original."""
    viewer.grid.enabled = False


def wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(done: object, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    if not done():
        sys.exit("it took too long")


def shot(viewer: "napari.Viewer", name: str) -> None:
    wait(1)
    while not all(layer.loaded for layer in viewer.layers):
        wait(0.1)
    path = IMAGES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    image = QImage(str(path))
    image.convertToFormat(QImage.Format.Format_RGB888).save(str(path), "PNG", 0)
    print(path, image.width(), image.height(), path.stat().st_size)


if __name__ == "__main__":
    main()
