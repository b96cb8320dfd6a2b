"""What of a machine is left to this process by control groups of Linux, and by SLURM's word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cores", "memory"]

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
# Files for what is allowed and what is used, in version 2 and 1; and the lines of memory.stat that
# count the files' cache, which makes room when it is needed.
MEMORY = (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))
OLD_MEMORY = (
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def memory() -> int | None:
    """Give the bytes that are left below the tightest limit; None where there is none."""
    left = []
    for folder in _groups("memory"):
        for limits, used, caches in (MEMORY, OLD_MEMORY):
            allowed = [int(text) for name in limits if (text := _text(folder / name)).isdigit()]
            taken = _text(folder / used)
            if allowed and taken.isdigit():
                busy = int(taken) - _cached(folder, caches)
                left.append(max(0, min(allowed) - max(0, busy)))
    asked = _of_slurm()
    if asked is not None:
        left.append(max(0, asked - _own()))
    return min(left, default=None)


def cores() -> int | None:
    """Give the cores that the tightest quota allows; None where there is none."""
    found = []
    for folder in _groups("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = (_text(folder / f"cpu.cfs_{what}_us") for what in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # "max" or -1 is none
            found.append(max(1, round(int(quota) / int(period))))
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    if given.isdigit() and int(given):
        found.append(int(given))
    return min(found, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Give the folders of this process's groups and of those around them, as far as they are seen.

    In a container the path may be that of the host; then only its root is there.
    """
    for line in _text(OWN).splitlines() or ["0::/"]:
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if names and controller not in names.split(","):
            continue
        # Version 1 has a folder for each controller; several may share one, by all of their names.
        roots = [CGROUP / names, CGROUP / controller] if names else [CGROUP]
        root = next((one for one in roots if one.is_dir()), None)
        if root is None:
            continue
        folder = root / path.strip("/")
        while folder != root and root in folder.parents:
            yield folder
            folder = folder.parent
        yield root


def _cached(folder: Path, names: tuple[str, ...]) -> int:
    """Give the bytes of files that a group keeps in memory."""
    rows = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in names)


def _of_slurm() -> int | None:
    """Give the memory that a job asked for on this node: not every site's groups enforce it."""
    for name, count in (("SLURM_MEM_PER_NODE", "1"), ("SLURM_MEM_PER_CPU", _cpus())):
        megabytes = os.environ.get(name, "")
        if megabytes.isdigit() and int(megabytes) and count.isdigit():  # 0 is all of the node
            return int(megabytes) * int(count) * 2**20
    return None


def _cpus() -> str:
    return os.environ.get("SLURM_CPUS_ON_NODE") or os.environ.get("SLURM_CPUS_PER_TASK") or "1"


def _own() -> int:
    """Give the bytes that this process and those that it started hold."""
    import psutil  # type: ignore[import-untyped]

    me, held = psutil.Process(), 0
    for one in (me, *me.children(recursive=True)):
        try:
            held += int(one.memory_info().rss)
        except psutil.Error:  # it has ended meanwhile
            continue
    return held


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""  # not Linux, no such group, or not for us to see
