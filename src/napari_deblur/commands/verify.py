"""``napari-deblur verify``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

if TYPE_CHECKING:
    from napari_deblur.progress import Progress
    from napari_deblur.verifying import Finding

__all__ = ["verify"]


@told
def verify(
    store: Annotated[str, typer.Argument(help="A result, finished or not.")],
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete damaged chunks, for a run to restore.")
    ] = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="A quick look at the sizes of files; none is read.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Files that are read at once; default: up to 8."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each finding, and the end, as a line of JSON.")
    ] = False,
    progress: o.Said = "auto",
    debug: o.Debug = False,
) -> None:
    """Read a result again, every byte, and compare it with what was written."""
    from napari_deblur import claims, system, verifying
    from napari_deblur.places import place_of
    from napari_deblur.results import LEDGER

    if discard:  # before all of it is read, which may take long
        claims.refuse(place_of(store) / LEDGER, claims.ALL)
    found = _Found(as_json=as_json, kept=discard)
    try:
        with system.stopping_on_signals():
            printing.watched(found.printed(verifying.looks(store, sizes=sizes, threads=threads)))
    except KeyboardInterrupt:
        found.end(store, "stopped", "")
        many = f"{found.damaged} finding{'' if found.damaged == 1 else 's'} of damage"
        printing.error(f"stopped, after {many}: not all was looked at")
        raise typer.Exit(1) from None
    deleted = verifying.discard(store, found.damage) if discard and found.damaged else None
    if deleted is not None and not as_json:
        printing.say(f"{deleted} damaged chunks were deleted: run the same again to restore them")
    by_sizes = " by the sizes of its files" if sizes else ""
    if found.damaged:
        found.end(store, "damaged", "", deleted=deleted or 0)
        raise typer.Exit(1)
    ending = ", but not complete" if found.others else " and complete"
    state = "incomplete" if found.others else "complete"
    found.end(store, state, f"{store} is sound{by_sizes}{ending}")
    if found.others:
        raise typer.Exit(3)


class _Found:
    """What was found so far; each is printed when it comes."""

    def __init__(self, *, as_json: bool, kept: bool) -> None:
        self.damaged = self.others = 0
        self.damage: list[Finding] = []
        self._as_json, self._kept = as_json, kept

    def printed(self, said: Iterator[Finding | Progress]) -> Iterator[Progress]:
        """Print findings; pass on how far it is."""
        from napari_deblur.verifying import Finding

        for one in said:
            if not isinstance(one, Finding):
                yield one
                continue
            printing.line(json.dumps(_of(one)) if self._as_json else str(one))
            if not one.is_damage:
                self.others += 1
                continue
            self.damaged += 1
            if self._kept:
                self.damage.append(one)

    def end(self, store: str, state: str, text: str, *, deleted: int = 0) -> None:
        """Say what came of all."""
        if self._as_json:
            end = {"store": store, "state": state, "damaged": self.damaged, "deleted": deleted}
            printing.line(json.dumps(end))
        elif text:
            printing.say(text)


def _of(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "damage": finding.is_damage}
