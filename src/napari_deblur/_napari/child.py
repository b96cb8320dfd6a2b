"""The process of a run: ``python -m napari_deblur._napari.child REQUEST.json``.

It says what it does in lines of JSON on the standard output, and ends when the standard input
is closed, so it never outlives napari. It imports neither napari nor Qt.

Lines: {"say": text}, {"output": path, "notes": […], "plan": text}, {"progress": {…}}, at the end
{"done": {…}} or {"error": text}.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


def main(request: str) -> int:
    """Do what the request says; give the exit status."""
    talk = _talking()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        text = Path(request).read_text("utf-8")
        # napari may be killed before it can clear away; nobody reads it again.
        Path(request).unlink(missing_ok=True)
        _work(json.loads(text), talk)
    except (ValueError, OSError, MemoryError) as error:
        talk(error=str(error) or type(error).__name__)
        return 1
    except Exception as error:  # noqa: BLE001 - shown in the window, the rest goes to the log
        traceback.print_exc()
        talk(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def _talking() -> Callable[..., None]:
    """Keep the standard output for our lines; what else is printed goes to the log."""
    out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def talk(**message: Any) -> None:
        out.write(json.dumps(message, default=str) + "\n")
        out.flush()

    return talk


def _end_with_parent() -> None:
    """End as soon as the other end of the standard input is gone."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(130)


def _work(request: dict[str, Any], talk: Callable[..., None]) -> None:
    from napari_deblur import batch
    from napari_deblur._napari.asking import Ask, deciding, free_path
    from napari_deblur.opening import reopen
    from napari_deblur.plans import Layout, Plan
    from napari_deblur.stack import Source

    talk(say="starting")
    # What the user confirmed in the form goes before what the file says.
    stack = _described(reopen(Source.from_dict(request["source"])), request["described"])
    if request["plan"] is not None:
        from dataclasses import replace

        plan = replace(
            Plan.from_dict(request["plan"]), source=stack.source, layout=Layout.of(stack)
        )
    else:
        steps = deciding(Ask.from_dict(request["ask"]), stack)
        while True:
            try:
                talk(say=next(steps))
            except StopIteration as done:
                plan = done.value
                break
    output = free_path(request["output"], plan.key)
    output.parent.mkdir(parents=True, exist_ok=True)
    opened, last = False, None
    for progress in batch.run(plan, output, stack, job=request["job"]):
        if not opened:
            talk(output=str(output), notes=list(plan.notes), plan=plan.summary())
            opened = True
        talk(progress=asdict(progress))
        last = progress
    phase, note = (last.phase, last.note) if last is not None else ("", "")
    emptied = last.emptied if last is not None else 0
    talk(done={"output": str(output), "phase": phase, "note": note, "emptied": emptied})


def _described(stack: Any, described: dict[str, Any]) -> Any:
    from dataclasses import replace

    # JSON has lists in place of tuples. Unknown stays unknown, whatever the file says.
    size = tuple(described["pixel_size"]) if described["pixel_size"] else None
    source = replace(stack.source, pixel_size=size)
    return replace(
        stack,
        name=described["name"],
        time_step=described["time_step"],
        pixel_size=size,
        source=source,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
