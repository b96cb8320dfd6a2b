"""The process of a training: ``python -m napari_deblur._napari.training_child REQUEST.json``.

A line "stop" on the standard input ends it after the iteration that goes on, with all that was
learned saved; so does the end of the standard input. It imports neither napari nor Qt.

Lines of JSON on the standard output: {"say": text}, {"learning": true}, {"step": {…}, "best": {…},
"picture": path or ""}, at the end {"done": {"weights": path, "iterations": n, "stopped": bool}} or
{"error": text}.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from napari_deblur._napari.mistakes import words

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

# Seconds in which a training must end when there is nobody left who could look at it.
LAST = 90.0
PICTURE = "cases.png"


def main(request: str) -> int:
    """Do what the request says; give the exit status."""
    out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed goes to the log

    def talk(**message: Any) -> None:
        try:
            out.write(json.dumps(message, default=str) + "\n")
            out.flush()
        except OSError:  # napari is gone: what was learned is saved all the same
            pass

    stop, learning = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(stop, learning), daemon=True).start()
    try:
        text = Path(request).read_text("utf-8")
        Path(request).unlink(missing_ok=True)
        _work(json.loads(text), talk, stop, learning)
    except Exception as error:  # noqa: BLE001 - shown in the window, the rest goes to the log
        traceback.print_exc()
        talk(error=words(error))
        return 1
    return 0


def _listen(stop: threading.Event, learning: threading.Event) -> None:
    """Hear the word stop, or that there is nobody any more."""
    while words := os.read(sys.stdin.fileno(), 1024):
        if b"stop" in words:
            stop.set()
    stop.set()
    if not learning.is_set():  # there is nothing to save
        os._exit(130)
    threading.Event().wait(LAST)
    os._exit(130)


def _work(
    request: dict[str, Any],
    talk: Callable[..., None],
    stop: threading.Event,
    learning: threading.Event,
) -> None:
    talk(say="reading the images, making kernels and objects")
    from napari_deblur.gdunet.keeping import BEST, WEIGHTS, facts_of
    from napari_deblur.gridding import chosen_device
    from napari_deblur.training import page_of, train_network

    folder = Path(request["folder"])
    device = chosen_device(request["device"])
    changes = dict(request["changes"])
    if device.startswith("cuda"):  # batches are made beside, by the cores that have nothing to do
        changes.setdefault("threads", max(1, min(8, (os.cpu_count() or 2) - 1)))

    def asked() -> bool:
        if not learning.is_set():
            learning.set()
            talk(learning=True)
        return stop.is_set()

    count = 0
    asking: dict[str, Any] = {
        "data": folder,
        "device": device,
        "stop": asked,
        "say": lambda line: talk(say=line),
    }
    for step in train_network(folder / "settings.toml", folder, **asking, **changes):
        count, picture = step.iteration, ""
        if step.shown:
            picture = str(folder / PICTURE)
            page_of(step, words=False, each=2).image.save(picture)
        told = asdict(step) | {"shown": None}
        if not math.isfinite(step.loss):
            told["loss"] = None
        facts = facts_of(folder / BEST) if step.validation else {}
        best = {"iterations": facts["iterations"], **facts["best"]} if facts else {}
        talk(step=told, best=best, picture=picture)
    found = next((folder / n for n in (BEST, WEIGHTS) if (folder / n).exists()), None)
    talk(done={"weights": str(found or ""), "iterations": count, "stopped": stop.is_set()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
