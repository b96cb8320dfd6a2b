"""Processes that wait for commands, so that rivals never share one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from typing import Any, Self

__all__ = ["Child"]

# As many names as there are libraries that start threads.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")  # fmt: skip


class Child(AbstractContextManager["Child"]):
    """A fresh process with so many threads; it ends with the ``with`` block."""

    def __init__(self, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "napari_deblur.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(THREADS, str(threads)),
            text=True,
        )

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Give a command and wait for the answer; ``{"missing": why}`` if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"missing": "its process ended"}
        return answer

    def __exit__(self, *error: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # a process that ended left a command unread
                if pipe is not None:
                    pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self
