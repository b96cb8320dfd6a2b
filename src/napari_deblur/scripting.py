"""Jobs as Python that anyone can run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import napari_deblur

if TYPE_CHECKING:
    from napari_deblur.job import Job

__all__ = ["python_of"]

WIDTH = 88
INDENT = "    "


def python_of(job: Job) -> str:
    """Give Python that does what the job says, to the same place, and goes on where it was.

    Paths become absolute. What is not the default is named.
    """
    body = _written(job.resolved().to_dict(), "")
    made = f"A job of napari-deblur {napari_deblur.__version__}."
    return f'''"""{made} `napari_deblur.results.open_result` reads the result."""

import napari_deblur as nd

job = nd.Job.from_dict({body})

if __name__ == "__main__":
    for progress in job.run():
        print(progress)
'''


def _written(value: Any, indent: str) -> str:
    """Write plain data as Python, one line each where that is too long."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list):
        return repr(value)
    inner = indent + INDENT
    if isinstance(value, dict):
        parts = [f"{_written(k, '')}: {_written(v, inner)}" for k, v in value.items()]
        left, right = "{", "}"
    else:
        parts, left, right = [_written(v, inner) for v in value], "[", "]"
    line = left + ", ".join(parts) + right
    if indent and len(line) < WIDTH - len(indent) and "\n" not in line:
        return line
    return left + "".join(f"\n{inner}{part}," for part in parts) + f"\n{indent}{right}"
