"""The widget Train: teach GDUNet on layers, look how it goes, keep the best."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_deblur._napari.doubts import Doubts
from napari_deblur._napari.form import fill, value_of
from napari_deblur._napari.history import said
from napari_deblur._napari.reading import offered, pixel_size_of, stack_of
from napari_deblur._napari.settings import preferences
from napari_deblur._napari.teaching import Lesson, Teaching
from napari_deblur._napari.texts import number
from napari_deblur._napari.training_files import SETTINGS, begun, folder_for, written
from napari_deblur._napari.training_form import TrainingForm, called_sharp
from napari_deblur._napari.training_run import TrainingRun, best_said
from napari_deblur._napari.training_view import TrainingView
from napari_deblur._napari.working import words
from napari_deblur.places import on_this_machine

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Train"]

TICK = 100  # ms
NOT_BEGUN = "Cancelled before it began."
# Folders that are learned in, by any widget: the dock of one may be closed meanwhile.
_TRAINED: set[Path] = set()


class Train(TrainingForm):
    """Train GDUNet on sharp layers, or on a blurred and a sharp one."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, offered, preferences().device)
        self.viewer = napari_viewer
        self.view = TrainingView(napari_viewer)
        self.lay(self.view)
        self._child: TrainingRun | None = None
        self._activity: Any = None
        self._own_folder = False
        self._note = ""
        self._shown_from = -1  # where the form was scrolled to, to show how it goes
        self._doubts = Doubts(self._describe)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self.go.clicked.connect(partial(self.plainly, self.start_training))
        self.copy.clicked.connect(self._copy_path)
        self.copy_command.clicked.connect(self._copy_command)
        self.reset.clicked.connect(lambda: fill(self.form, Teaching()))
        self.output.line.textEdited.connect(self._folder_edited)
        self.output.line.textChanged.connect(self._look)
        for box in (self.source, self.lens):
            box.currentIndexChanged.connect(self._show_rows)
        for box in (self.sharp, self.blurred_of_pair, self.sharp_of_pair):
            box.changed.connect(self._layers_changed)
        for line in (self.na, self.wavelength, self.pixel):
            line.textChanged.connect(self._describe)
        self.begin_with.currentIndexChanged.connect(self._describe)
        self.form.changed.connect(self._describe)
        napari_viewer.layers.selection.events.active.connect(self._follow)
        self.reset_choices()
        self._show_rows()
        self.idle("")

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        self.sharp.reset_choices()
        self.blurred_of_pair.reset_choices()
        self.sharp_of_pair.reset_choices()
        self._layers_changed()

    def lesson(self) -> Lesson:
        """Give what the form says.

        Raises
        ------
        ValueError
            When something is missing or does not fit.
        """
        sharp, blurred = self._chosen()
        if not sharp:
            raise ValueError("no layer is chosen: tick one that is sharp")
        if blurred and blurred[0] is sharp[0]:
            raise ValueError("blurred and sharp are the same layer: choose two")
        return Lesson(
            sharp=[stack_of(layer) for layer in sharp],
            blurred=[stack_of(layer) for layer in blurred],
            optics=self._optics(),
            start="packaged" if self.begin_with.currentData() else "",
            iterations=self.iterations.value(),
            teaching=value_of(self.form, Teaching),
        )

    def folder(self) -> Path:
        """Give the folder of the training."""
        if not self.output.text():
            raise ValueError('"save in" is empty: say where the weights go')
        return on_this_machine(self.output.text()).expanduser().absolute()

    def start_training(self) -> None:
        """Write the layers as files first, then start the child; or go on."""
        folder = self.folder()
        if folder in _TRAINED:
            raise ValueError(
                f"“{folder.name}” is being trained already: Activity, at the lower right, shows "
                "how far it is, and can cancel it"
            )
        known = begun(folder)
        wanted = self.iterations.value()
        self._note = ""
        if known is None:
            steps = written(self.lesson(), folder)
            then = partial(self._written, folder)
            self.start("Writing the layers", steps, then, otherwise=NOT_BEGUN)
            return
        if wanted <= known.iterations:
            raise ValueError(
                f"{known.iterations} iterations are done there: ask for more than that"
            )
        self._learn(folder, {"iterations": wanted})

    def outlives(self) -> str:
        """Let a training go on, which may take hours; layers that are being written are not."""
        return f"The training “{self._child.folder.name}”" if self._child is not None else ""

    def stop(self) -> None:
        """Stop after the iteration that goes on; pressed again, or before any, end at once."""
        if self._child is None:
            super().stop()
        elif self._child.asked or not self._child.learning:
            self._child.cancel()
        else:
            self._child.ask_to_stop()
            self.say("Stopping, and looking how good it is; press again to end at once")

    def _written(self, folder: Path, note: str) -> None:
        if self.stopped:  # while the last layer was written
            self.idle(NOT_BEGUN)
            return
        self._note = note
        self._learn(folder, {})

    def _learn(self, folder: Path, changes: dict[str, Any]) -> None:
        from napari_deblur._napari.activity import Activity

        request = {
            "folder": str(folder),
            "device": self.device.currentText(),
            "changes": changes,
        }
        child = self._child = TrainingRun(request, folder, self.iterations.value())
        _TRAINED.add(folder)
        self._activity = Activity(f"Train {folder.name}", child.running, child.ask_to_stop)
        self.view.begin(folder)
        self.learned.hide()
        self.begin("Starting", child.ask_to_stop)
        self._shown_from = -1
        QTimer.singleShot(0, self._scroll_to_view)  # when the curves have their place
        self._timer.start(TICK)

    def _poll(self) -> None:
        child = self._child
        if child is None:
            return
        if (self.left_alone() or self._activity.cancelled) and not child.asked:
            self.stop()
        for message in child.messages():
            if "say" in message:
                self.say(message["say"])
            elif "learning" in message:
                child.learning = True
            elif "step" in message:
                self._stepped(child, message)
            elif "done" in message:
                child.outcome = self._told(message["done"], child.best)
            elif "error" in message:
                child.error = message["error"]
            elif "ended" in message:
                self._ended(child, message["ended"])

    def _stepped(self, child: TrainingRun, message: dict[str, Any]) -> None:
        there = not self.view.cases.isHidden()
        self.view.add(message["step"], message["picture"])
        if message["picture"] and not there:
            QTimer.singleShot(0, self._scroll_to_view)
        child.best = message["best"] or child.best
        text = said(message["step"], child.iterations)
        if child.best:
            text += f". {best_said(child.best)}"
        if self._note:
            text += f". {self._note}"
        if not child.asked:
            self.progress(text, message["step"]["iteration"], child.iterations)
            self._activity.tell(message["step"]["iteration"], child.iterations)
        if message["best"]:
            self._show_weights(child.folder / "best.safetensors")

    def _scroll_to_view(self) -> None:
        """Show how it goes, unless the user has scrolled to something else since it began."""
        if not isalive(self):
            return
        bar = self.area.verticalScrollBar()
        if self._shown_from in (-1, bar.value()):
            self.area.widget().adjustSize()
            bar.setValue(self.view.y())
            self._shown_from = bar.value()

    def _ended(self, child: TrainingRun, crash: str) -> None:
        self._timer.stop()
        self._child = None
        self._activity.close()
        _TRAINED.discard(child.folder)
        if self.left_alone():
            self.idle("")
        elif child.error or crash:
            self.fail(child.error or crash.replace("Run goes on from there", "Go on takes it up"))
        else:
            self.idle(child.outcome or "Ended at once: what was saved before is there.")
        self._look()

    def _told(self, done: dict[str, Any], best: dict[str, Any]) -> str:
        if not done["weights"]:
            return "Stopped before anything was learned."
        self._show_weights(Path(done["weights"]))
        how = "Stopped" if done["stopped"] else "Trained"
        text = f"{how} after {done['iterations']} iterations. {best_said(best)}"
        if best and not best["iterations"]:
            said = "Nothing better than these was learned yet: Go on, with more iterations."
        else:
            which = f"the weights {done['weights']}" if self.closed else "these weights"
            said = f"In Deblur, choose gdunet and {which}."
        return f"{text}. {said} {self._note}".strip()

    def _show_weights(self, path: Path) -> None:
        self.weights.setText(str(path))
        self.weights.setCursorPosition(len(str(path)))
        self.learned.show()

    def _chosen(self) -> tuple[list[Any], list[Any]]:
        """Give the sharp layers and the blurred ones."""
        if self.source.currentData() == "sharp":
            return self.sharp.layers(), []
        sharp, blurred = self.sharp_of_pair.layer, self.blurred_of_pair.layer
        return ([], []) if sharp is None or blurred is None else ([sharp], [blurred])

    def _optics(self) -> dict[str, float] | None:
        if self.lens.currentData() == "any":
            return None
        lines = {"na": self.na, "wavelength": self.wavelength, "pixel_size": self.pixel}
        names = {"na": "NA", "wavelength": "the wavelength", "pixel_size": "the pixel size"}
        found = {}
        for key, line in lines.items():
            value = number(line.text(), names[key], "" if key == "na" else "µm")
            if value is None:
                raise ValueError(f"{names[key]} is empty: give a number, or a lens of any kind")
            found[key] = value
        return found

    def _follow(self, event: Any = None) -> None:
        """Take the active layer, until the user has chosen; a closed widget listens no more."""
        if isalive(self):
            self.reset_choices()
        else:
            self.viewer.layers.selection.events.active.disconnect(self._follow)

    def _layers_changed(self) -> None:
        sharp, blurred = self._chosen()
        if sharp and not self._own_folder:
            self.output.put(str(folder_for(sharp[0].name, preferences().trained)))
        layers = [*blurred, *sharp]
        if layers:
            self._take_optics(layers[0])
        for layer in sharp:
            self._doubts.look(layer)
        self._describe()

    def _take_optics(self, layer: Any) -> None:
        """Say what the layer says, but where something was typed."""
        pixel = None
        with contextlib.suppress(ValueError):
            _, y, x = pixel_size_of(layer, stack_of(layer).axes)
            pixel = (y + x) / 2 if y and x else None
        known = layer.metadata.get("optics")
        said = known if isinstance(known, dict) else {}
        wavelength = said.get("wavelength") or (said.get("wavelengths") or [None])[0]
        lines = {self.na: said.get("na"), self.wavelength: wavelength, self.pixel: pixel}
        for line, value in lines.items():
            if not (line.isModified() and line.text()):
                line.setText(f"{value:.4g}" if value else "")

    def _describe(self, *_: Any) -> None:
        """Say what will be learned from, or what does not fit; a closed widget says nothing."""
        if not isalive(self):
            return
        if not self._chosen()[0]:
            few = not self.sharp.offered()
            self.reads.setText(
                "Open a sharp layer, or two of the same place." if few else "Tick a sharp layer."
            )
            return
        try:
            learns = f"Learns from {self.lesson().summary()}."
            text = "\n".join([learns, *self._doubts.said(self._chosen()[0])])
        except (ValueError, TypeError) as error:
            text = words(error)
        self.reads.setText(text[:1].upper() + text[1:])

    def _show_rows(self, *_: Any) -> None:
        for name, way in self.ways.items():
            way.setVisible(name == self.source.currentData())
        self.optics.setVisible(self.lens.currentData() == "known")
        if self.blurred_of_pair.layer is self.sharp_of_pair.layer:
            self._tell_apart()
        self._layers_changed()

    def _tell_apart(self) -> None:
        """Choose two layers for a pair, if there are two."""
        offered = self.sharp.offered()
        sharp = [*called_sharp(offered), self.sharp_of_pair.layer][0]
        others = [one for one in offered if one is not sharp]
        if others:
            self.sharp_of_pair.choose(sharp)
            # Results and kernels are layers, too.
            plain = [one for one in others if "deblur" not in one.metadata]
            self.blurred_of_pair.choose((plain or others)[-1])

    def _folder_edited(self, *_: Any) -> None:
        self._own_folder = True

    def _look(self, *_: Any) -> None:
        """Say what the folder holds."""
        known = begun(Path(self.output.text()).expanduser()) if self.output.text() else None
        self.go.setText("Start" if known is None else "Go on")
        self.holds.setVisible(known is not None)
        if known is not None:
            self._own_folder = True
            self.holds.setText(
                f"Holds a training of {known.iterations} iterations: Go on takes its images and "
                "settings, not those above."
            )

    def _copy_path(self) -> None:
        QApplication.clipboard().setText(self.weights.text())

    def _copy_command(self) -> None:
        folder = Path(self.weights.text()).parent
        command = f'napari-deblur train "{folder / SETTINGS}" "{folder}"'
        QApplication.clipboard().setText(command)
