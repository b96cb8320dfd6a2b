"""What a benchmark is asked to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Asked", "chosen"]


@dataclass(frozen=True)
class Asked:
    """The options of the command line.

    Parameters
    ----------
    out : Path
        Folder for the results.
    quick : bool
        Small sizes and few cases: to see that it works, not how fast.
    only : names of rows or parts; all when empty
    rounds : int
    threads : int
        Of each process.
    device : str
        Of what runs on torch.
    camera : "known" or "estimated"
        Whether methods are told the gain and the background that a scene was made with.
    photos, data : Path or None
        Folders with photographs, and with measured stacks.
    weights : Path or None
        Folder with the weights of networks.
    """

    out: Path = Path("bench-results")
    quick: bool = False
    only: tuple[str, ...] = ()
    rounds: int = 7
    threads: int = 1
    device: str = "cpu"
    camera: str = "known"
    photos: Path | None = None
    data: Path | None = None
    weights: Path | None = None


def chosen(names: Iterable[str], only: tuple[str, ...], *, what: str) -> list[str]:
    """Give those of the names that were asked for, in their order; all if none was.

    Raises
    ------
    ValueError
        For a name that there isn't, with those there are.
    """
    there = list(names)
    for name in only:
        if name not in there:
            raise ValueError(f'no {what} "{name}"; there are: {", ".join(there)}')
    return [name for name in there if not only or name in only]
