"""What depends on the operating system, all of it."""

from __future__ import annotations

import ast
import ctypes
import errno
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import TypeVar

from napari_deblur import limits

__all__ = [
    "Content",
    "at_most_cores",
    "available_memory",
    "cores",
    "cpu_kind",
    "ctrl_c_held",
    "free_disk",
    "give_memory_back",
    "has_process",
    "insisting",
    "is_there",
    "links_out_of",
    "refuse_unguarded_script",
    "stop_asked",
    "stopping_on_signals",
    "sync_file",
    "sync_folder",
    "write_atomically",
]

# How many cores this process and its children may use at most, if that was asked.
CORES = "NAPARI_DEBLUR_THREADS"
MMAP_THRESHOLD, ARENA_MAX = -3, -8  # as malloc.h of glibc numbers them
TRIES = 3
# Windows lets nobody replace or remove a file that another program has open.
SHARES = os.name != "nt"
PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds
T = TypeVar("T")
Content = (
    bytes | memoryview | Iterable[bytes | memoryview]
)  # of a file, as a whole or piece by piece


def insisting(action: Callable[[], T]) -> T:
    """Do something to a file; where another program may be in the way, try a few times."""
    for pause in () if SHARES else PAUSES:
        try:
            return action()
        except PermissionError:
            time.sleep(pause)
    return action()


def is_there(path: Path) -> bool:
    """Whether a file is there by now.

    It is opened: of a network drive, what `stat` says may be a minute old.
    """
    try:
        if SHARES:
            os.close(os.open(path, os.O_RDONLY))
        else:
            path.stat()  # one that is open could not be removed
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("r+b") as file:  # Windows flushes handles that may write only
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can be asked to."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems keep no folder handles; they sync names themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def write_atomically(path: Path, content: Content, check: Callable[[], None] | None = None) -> None:
    """Replace a file as a whole: whoever reads it sees the old content or the new.

    `check` is called when all is written and only the name is lacking: if it raises, nothing was
    replaced. Whoever removes the folder between it and the end removes what was written, too.
    """
    whole = isinstance(content, bytes | memoryview)
    for attempt in range(1, TRIES + 1):
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                file.writelines([content] if isinstance(content, bytes | memoryview) else content)
            sync_file(partial)
            insisting(lambda: _named(partial, path, check))  # noqa: B023 - called at once
            break
        except FileNotFoundError:
            # Another run on the same folder may have swept up what it took for a leftover.
            partial.unlink(missing_ok=True)
            if attempt == TRIES or not whole or not path.parent.is_dir():
                raise
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _named(partial: Path, path: Path, check: Callable[[], None] | None) -> None:
    if check is not None:
        check()
    partial.replace(path)


def has_process(pid: int) -> bool:
    """Whether a process lives, also one that the system hides, or has died and nobody asked how."""
    if os.name == "nt":
        import psutil  # type: ignore[import-untyped]

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def free_disk(path: Path) -> int:
    """Give the bytes that are free where `path` is or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def available_memory() -> int:
    """Give the bytes of memory that are left, in this container or job if there is one."""
    import psutil

    left, limit = int(psutil.virtual_memory().available), limits.memory()
    return left if limit is None else min(left, limit)


def give_memory_back() -> None:
    """Return to the system what this process has freed and its allocator holds on to.

    On Linux each thread has a heap of its own that shrinks at its end only: of one tile after the
    other, a process held up to twice what it needed. From the first call on new threads share one
    heap, and arrays of 4 MiB and more that find no gap in it lie outside, and go back as they are
    freed.
    """
    trim = _allocator()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _allocator() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):  # only glibc has it
        return None
    library.mallopt(MMAP_THRESHOLD, 2**22)
    library.mallopt(ARENA_MAX, 1)
    trim: Callable[[int], int] = library.malloc_trim
    return trim


def cores() -> int:
    """Give the number of cores that this process may use: affinity, container and job count."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    limit, asked = limits.cores(), os.environ.get(CORES, "")
    if asked.isdigit() and int(asked):
        count = min(count, int(asked))
    return count if limit is None else min(count, limit)


@contextmanager
def at_most_cores(count: int | None) -> Iterator[None]:
    """Let this process and those that it starts use so many cores at most, inside; None: all."""
    if count is None:
        yield
        return
    count = min(count, cores())
    names = (CORES, "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # heeded when torch is loaded
    before = {name: os.environ.get(name) for name in names}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    os.environ |= dict.fromkeys(names, str(count))
    if torch:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        if torch:
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def cpu_kind() -> str:
    """Name the processor; float32 results are bit-identical on one kind only."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the standard library knows
    return platform.processor() or platform.machine()


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Let SIGTERM (and Ctrl-Break) inside stop the program as Ctrl-C does, by KeyboardInterrupt.

    Outside the main thread, where Python allows no handlers, this does nothing.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    with _handled(stop):
        yield


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Give what tells whether Ctrl-C or SIGTERM came inside; a second one stops at once."""
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
        asked.set()

    with _handled(stop):
        yield asked.is_set


@contextmanager
def _handled(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGINT", "SIGBREAK")  # the last one is Windows'
    kinds = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Hear Ctrl-C at the end only; no process that is started inside, or by a thread, hears it.

    A terminal tells all processes of it: this one ends the others, without a page of each. On
    Windows they hear it.
    """
    with stop_asked() as asked, _deaf():
        yield
    if asked():
        raise KeyboardInterrupt("stopped")


@contextmanager
def _deaf() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else who starts it lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def links_out_of(root: Path) -> Iterator[Path]:
    """Find the symbolic links under `root` that point to something outside it."""
    home = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                yield path


def refuse_unguarded_script() -> None:
    """Raise if starting processes now would run the user's script again in each of them.

    Processes are spawned: each imports the main script anew. One that starts processes at its
    top level, outside ``if __name__ == "__main__":``, would do so again in every child.

    Raises
    ------
    RuntimeError
        One sentence that says what to write.
    """
    inherits = getattr(multiprocessing.current_process(), "_inheriting", False)
    if not inherits and _is_guarded():
        return
    raise RuntimeError(
        "worker processes import your script again, so it would start itself without end: put "
        'the lines that run it below `if __name__ == "__main__":`, or use workers=0'
    )


def _is_guarded() -> bool:
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or not path.endswith(".py") or not Path(path).is_file():
        return True  # a prompt, a notebook, a program without source: not imported again
    tree = ast.parse(Path(path).read_bytes())
    guards = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in tree.body
        if isinstance(node, ast.If)
        and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
    ]
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            line = frame.f_lineno
            return any(first <= line <= last for first, last in guards)
        frame = frame.f_back
    return bool(guards) or threading.current_thread() is not threading.main_thread()
