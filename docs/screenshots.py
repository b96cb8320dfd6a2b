"""Make the pictures of the tutorial, by using the widgets in a real napari.

    python docs/screenshots.py                 # all of them: some minutes
    python docs/screenshots.py beads training  # some of the scenes

Without a display it starts itself again under xvfb-run. The pictures go to docs/images: look at
them before they are committed. It ends with an error where a text is cut off.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The settings as they come; the folder's name is seen in the pictures.
os.environ["NAPARI_CONFIG"] = str(
    Path(tempfile.gettempdir()) / "napari-deblur-pictures" / "napari.yaml"
)
os.environ["NAPARI_ASYNC"] = "0"

from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QPushButton,
    QScrollArea,
)

import napari
from napari_deblur._napari.layer_box import Names
from napari_deblur._napari.ways import MODELS

SCRATCH = Path(os.environ["NAPARI_CONFIG"]).parent
IMAGES = Path(__file__).parent / "images"
SIZE = (1280, 800)
LARGEST = 250_000  # bytes of a picture
ARROW = 24  # pixels of a box that its arrow takes


def unknown() -> None:
    """I don't know the blur: the form, live preview with swipe, run, inspector."""
    viewer = opened("chromosomes")
    deblur = dock(viewer, "Deblur")
    deblur.output.line.setText(str(SCRATCH / "chromosomes.deblur.zarr"))
    deblur.output.line.setCursorPosition(len(deblur.output.text()))
    viewer.dims.set_current_step(0, 20)
    shot(viewer, "deblur")

    live = deblur.live_row
    live.region.click()
    wait_until(lambda: live.shown is not None and not live.busy(), least=2)
    live.slider.setValue(500)
    shot(viewer, "live")
    live.slider.setValue(0)
    live.region.click()

    deblur.run.click()
    wait_until(lambda: not deblur.busy(), least=2)
    kernels = next(layer for layer in viewer.layers if "kernels" in layer.name)
    for layer in list(viewer.layers):
        if "preview" in layer.metadata.get("deblur", {}):
            viewer.layers.remove(layer)
    viewer.reset_view()
    shot(viewer, "run")
    viewer.theme = "light"
    shot(viewer, "run-light")
    viewer.theme = "dark"

    deblur.parent().close()
    inspector = dock(viewer, "Kernel inspector")
    inspector.layer_box.choose(kernels)
    wait_until(lambda: inspector.shown is not None and not inspector.busy(), least=2)
    shot(viewer, "inspector")
    viewer.theme = "light"
    shot(viewer, "inspector-light")
    viewer.close()


def optics() -> None:
    """I know my optics: Deblur with a computed kernel; the widget PSF from optics."""
    viewer = opened("chromosomes")
    viewer.dims.set_current_step(0, 20)
    deblur = dock(viewer, "Deblur")
    pick(deblur.known.way, "I know my optics")
    pick(deblur.known.objective, "63x/1.40 oil")
    pick(deblur.known.fluorophore, "DAPI")
    deblur.known.more.open()
    for model in MODELS:
        pick(deblur.known.model, model)
        hold(viewer, f"Deblur, {model}")
    deblur.known.more.open(yes=False)
    pick(deblur.known.model, "confocal")
    deblur.preview.click()
    wait_until(lambda: not deblur.busy(), least=2)
    wait(1)
    viewer.reset_view()
    deblur.findChild(QScrollArea).ensureWidgetVisible(deblur.known.about_model)
    shot(viewer, "optics")
    deblur.parent().close()

    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
    making = dock(viewer, "PSF from optics")
    for model in [*MODELS, "measured"]:
        pick(making.form.model, model)
        hold(viewer, f"PSF from optics, {model}")
    pick(making.form.model, "confocal")
    pick(making.form.objective, "63x/1.40 oil")
    pick(making.form.fluorophore, "DAPI")
    wait(3)
    making.add.click()
    wait_until(lambda: not making.busy(), least=2)
    viewer.reset_view()
    shot(viewer, "psf-from-optics")
    viewer.close()


def beads() -> None:
    """I have beads: they are found and averaged, and Deblur takes the kernel."""
    viewer = opened("bead_stack")
    making = dock(viewer, "PSF from beads")
    making.find.click()
    wait_until(lambda: not making.busy(), least=2)
    shot(viewer, "beads")
    making.add.click()
    area = making.findChild(QScrollArea)
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    viewer.reset_view()
    shot(viewer, "beads-kernel")
    making.parent().close()

    viewer.layers["beads of beads"].visible = False
    deblur = dock(viewer, "Deblur")
    pick(deblur.layer, "beads")
    pick(deblur.known.way, "I have beads or a measured PSF")
    pick(deblur.kernel_layer, "psf [beads of beads]")
    deblur.output.line.setText(str(SCRATCH / "beads.deblur.zarr"))
    deblur.run.click()
    wait_until(lambda: not deblur.busy(), least=2)
    viewer.layers["psf [beads of beads]"].visible = False
    viewer.reset_view()
    shot(viewer, "beads-run")
    viewer.close()


def training() -> None:
    """Train GDUNet, before it starts."""
    viewer = opened("tilted")
    viewer.layers["tilted"].visible = False
    viewer.layers["tilted truth"].visible = True
    viewer.layers.selection.active = viewer.layers["tilted truth"]
    train = dock(viewer, "Train GDUNet")
    pick(train.lens, "this one")
    train.na.setText("1.2")
    train.wavelength.setText("0.52")
    train.output.line.setText("~/napari-deblur/trained/tilted-truth")
    shot(viewer, "training")
    viewer.close()


def opened(sample: str) -> Any:
    """Open napari with a sample in it, in the dark theme."""
    viewer = napari.Viewer(show=True)
    viewer.theme = "dark"
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-deblur", sample)
    viewer.canvas.overlays.scale_bar.visible = True
    return viewer


def dock(viewer: Any, name: str) -> Any:
    """Open a widget."""
    place, widget = viewer.window.add_plugin_dock_widget("napari-deblur", name)
    wait(1)
    window = viewer.window._qt_window
    window.resizeDocks([place], [widget.sizeHint().width()], Qt.Orientation.Horizontal)
    wait(0.5)
    viewer.reset_view()
    return widget


def pick(box: QComboBox, text: str) -> None:
    """Choose a line of a box, as a user does."""
    at = box.findText(text)
    if at < 0:
        offered = ", ".join(box.itemText(i) for i in range(box.count()))
        sys.exit(f"{text} is not among {offered}")
    box.setCurrentIndex(at)
    box.activated.emit(at)
    wait(0.3)


def wait(seconds: float) -> None:
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(done: Callable[[], bool], *, least: float = 0.0, most: float = 600.0) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + most
    wait(least)
    while not done():
        wait(0.05)
        if time.monotonic() > end:
            sys.exit("it took too long")


def shot(viewer: Any, name: str) -> None:
    """Save what the window shows, in few colours; stop where a text is cut off."""
    wait(1)
    viewer.status = viewer.help = ""
    wait_until(lambda: all(layer.loaded for layer in viewer.layers))
    hold(viewer, name)
    path = IMAGES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    if image.size != SIZE or path.stat().st_size > LARGEST:
        sys.exit(f"{name}: {image.size}, {path.stat().st_size} bytes")
    print(path.name, path.stat().st_size, flush=True)


def hold(viewer: Any, name: str) -> None:
    """Stop where a text is cut off."""
    if cut := clipped(viewer.window._qt_window):
        sys.exit(f"{name}: these texts are cut off: {cut}")


def clipped(window: Any) -> list[str]:
    """Give the texts of our widgets that have too little room."""
    found = []
    # What is folded away has a parent of no height.
    kinds = (QLabel, QAbstractButton, QComboBox)  # one by one: PySide6 takes no tuple
    for part in [one for kind in kinds for one in window.findChildren(kind)]:
        if isinstance(part, Names):  # shortens what it shows, and says the rest
            continue
        around = lineage(part)
        ours = any(type(one).__module__.startswith("napari_deblur") for one in around)
        seen = part.isVisible() and all(one.height() > 0 for one in around)
        text = part.currentText() if isinstance(part, QComboBox) else part.text()
        if not ours or not seen or not text or text.startswith("<"):
            continue
        metrics = part.fontMetrics()
        text = text.replace("&", "")
        if isinstance(part, QLabel) and part.wordWrap():
            bad = part.heightForWidth(part.width()) > part.height()
        else:
            edge = {QComboBox: ARROW, QPushButton: 6}.get(type(part), 0)
            bad = metrics.horizontalAdvance(text) + edge > part.width()
        if bad:
            found.append(f"{type(part).__name__} {text!r}")
    for area in window.findChildren(QScrollArea):
        inside = type(area.parentWidget()).__module__.startswith("napari_deblur")
        if inside and area.isVisible() and (wide := area.horizontalScrollBar().maximum()):
            found.append(f"a form is {wide} pixels too wide")
    return found


def lineage(part: Any) -> list[Any]:
    """Give a widget and all those that it lies in."""
    found = []
    while part is not None:
        found.append(part)
        part = part.parentWidget()
    return found


SCENES = {scene.__name__: scene for scene in (unknown, optics, beads, training)}


def main() -> None:
    """Play the scenes that are named, or all."""
    unheard = [name for name in sys.argv[1:] if name not in SCENES]
    if unheard:
        sys.exit(f"no scene {unheard}; there are {', '.join(SCENES)}")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24"]
        os.execvp(screen[0], [*screen, sys.executable, *sys.argv])
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    try:
        for name in sys.argv[1:] or SCENES:
            SCENES[name]()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


if __name__ == "__main__":
    main()
