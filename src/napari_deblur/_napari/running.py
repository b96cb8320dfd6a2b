"""The child process seen from napari: start it, hear what it says, end it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari_deblur

__all__ = ["Child"]

SIGNALS = {9: "it was killed, most likely because memory ran out", 11: "it crashed"}


class Child:
    """A run in a process of its own, started with the interpreter that runs napari.

    Parameters
    ----------
    request : mapping or str
        For `child.main`, plain data, or the same as JSON.
    on_message : function of a message, or None
        Called in the thread that listens; what it returns is what `messages` gives. For what
        takes longer than the window may wait.
    module : str
        What the process runs; it is given the name of the file that holds the request.
    """

    def __init__(
        self,
        request: Mapping[str, Any] | str,
        on_message: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        module: str = "napari_deblur._napari.child",
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="napari-deblur-", suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(request if isinstance(request, str) else json.dumps(request))
        self._files = [Path(name), Path(name).with_suffix(".log")]
        self._heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._on_message = on_message
        self.cancelled = False
        with self._files[1].open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def messages(self) -> Iterator[dict[str, Any]]:
        """Give what was heard since the last call; the very last message is {"ended": text}.

        The text is empty if the run said that it was done, or was cancelled.
        """
        while True:
            try:
                yield self._heard.get_nowait()
            except queue.Empty:
                return

    def tell(self, order: str) -> None:
        """Give the process a line to read; nothing happens if it has ended."""
        with suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()

    def cancel(self) -> None:
        """End the process now; tiles that are done stay in the store."""
        self.cancelled = True
        self._process.terminate()

    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def _listen(self) -> None:
        said_it_all = False
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message: dict[str, Any] = json.loads(line)
                said_it_all |= "done" in message or "error" in message
                if self._on_message is not None and not self.cancelled:
                    message = self._on_message(message)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
                message = {"say": f"{type(error).__name__}: {error}"}
            self._heard.put(message)
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        quiet = said_it_all or self.cancelled
        self._heard.put({"ended": "" if quiet else self._last_words(status)})
        for file in self._files:
            file.unlink(missing_ok=True)

    def _last_words(self, status: int) -> str:
        why = SIGNALS.get(-status, f"exit status {status}") if status < 0 else f"status {status}"
        text = self._files[1].read_text("utf-8", errors="replace").strip().splitlines()
        last = f" ({text[-1][:200]})" if text else ""
        return (
            f"The process of the run ended unexpectedly: {why}{last}. What was done is kept; Run "
            "goes on from there."
        )


def _environment() -> dict[str, str]:
    """Let the child find this package as this process did, wherever it lies."""
    here = str(Path(napari_deblur.__file__).parents[1])
    known = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if "site-packages" not in here and here not in known.split(os.pathsep):
        environment["PYTHONPATH"] = os.pathsep.join(p for p in (here, known) if p)
    return environment
