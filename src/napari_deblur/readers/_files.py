"""First looks at a file."""

from __future__ import annotations

from pathlib import Path

__all__ = ["file_fingerprint", "first_bytes"]


def first_bytes(address: str, count: int = 32) -> bytes:
    """Give the beginning of a file; nothing for a folder or a URL."""
    path = Path(address)
    if "://" in address or not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(count)


def file_fingerprint(address: str) -> str:
    """Give size and time of the last change."""
    stat = Path(address).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"
