"""The tables of the blind benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.bench.blind_trust import rates
from napari_deblur.bench.tables import number, table
from napari_deblur.kernel_verdicts import verdict_of

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["blind"]

HEAD = ("share of the true kernel's gain", "lowest share", "gain in dB", "worst gain",
        "likeness", "seconds")  # fmt: skip


def blind(result: Result) -> Lines:
    """Write the parts that were measured."""
    write = {
        "planes": _compared,
        "volumes": _compared,
        "confocal": _stacks,
        "widefield": _stacks,
        "varying": _varying,
        "motion": _motion,
        "trust": _trust,
    }
    for name, lines in write.items():
        if name in result:
            yield f"## {name.capitalize()}"
            yield ""
            yield from lines(result[name]["rows"])
            yield f"Measured in {result[name]['seconds']:.0f} s."
            yield ""


def _compared(rows: Sequence[Result]) -> Lines:
    ways = [k for k, v in rows[0].items() if isinstance(v, dict) and "share" in v]
    for peak in dict.fromkeys(row["peak"] for row in rows):
        some = [row for row in rows if row["peak"] == peak]
        gains = [row["true gain"] for row in some]
        yield f"{len(some)} scenes of {peak:g} photons; medians, and the worst:"
        yield ""
        cells = [["true kernel", "1", "1", *_pair(gains), "1", ""]]
        for way in ways:
            of = {key: [row[way][key] for row in some] for key in some[0][way]}
            cells.append(
                [
                    way,
                    *_pair(of["share"]),
                    *_pair(of["gain"]),
                    f"{np.median(of['ncc']):.3f}",
                    f"{np.median(of['seconds']):.1f}" if any(of["seconds"]) else "",
                ]
            )
        yield from table(["", *HEAD], cells)
    yield "<details><summary>Scene by scene</summary>"
    yield ""
    yield from table(
        ["", "family", "verdict", "share", "gain", "true kernel's", "likeness", "seconds"],
        [
            [
                row["case"],
                str(row["report"].get("family", "")),
                str(row["report"].get("verdict", "")),
                f"{row['blind']['share']:.2f}",
                f"{row['blind']['gain']:+.2f}",
                f"{row['true gain']:+.2f}",
                f"{row['blind']['ncc']:.3f}",
                f"{row['blind']['seconds']:.1f}",
            ]
            for row in rows
        ],
    )
    yield "</details>"
    yield ""


def _pair(values: Sequence[float]) -> tuple[str, str]:
    return f"{np.median(values):.2f}", f"{min(values):.2f}"


def _stacks(rows: Sequence[Result]) -> Lines:
    def widths(values: Sequence[float | None]) -> str:
        return ", ".join(number(v, 3, "–") for v in values)

    yield from table(
        ["", "FWHM (z, y, x) found, µm", "known", "likeness", "family", "verdict", "seconds"],
        [
            [
                row["case"],
                widths(row["widths"]),
                widths(row["known widths"]),
                f"{row['ncc']:.3f}",
                str(row["report"].get("family", "")),
                str(row["report"].get("verdict", "")),
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
    )


def _varying(rows: Sequence[Result]) -> Lines:
    keys = ("raw", "one", "best one", "field", "true", "gain")
    yield from table(
        ["", "raw", "one kernel", "best one", "field", "true field", "field less best one", "s"],
        [[row["case"], *(f"{row[k]:.2f}" for k in keys), f"{row['seconds']:.0f}"] for row in rows],
    )


def _motion(rows: Sequence[Result]) -> Lines:
    every = [row for row in rows if "error ratio" in row]
    cells = []
    for kind in dict.fromkeys(row["case"].split()[0] for row in every):
        some = [row for row in every if row["case"].split()[0] == kind]
        mean = {k: np.mean([row["decibels"][k] for row in some]) for k in some[0]["decibels"]}
        errors = [row["error ratio"] for row in some]
        doubted = [verdict_of(r["report"])[0] != "believe" for r in some]
        failed = [error > 2 for error in errors]
        cells.append(
            [
                f"{kind} ({len(some)})",
                *(f"{v:.2f}" for v in mean.values()),
                f"{100 * np.mean([e <= 2 for e in errors]):.0f} %",
                f"{np.median(errors):.2f}",
                f"{sum(d and f for d, f in zip(doubted, failed, strict=True))} of {sum(failed)}",
                f"{np.median([row['seconds'] for row in some]):.1f}",
            ]
        )
    if cells:
        head = ("blurred", "true kernel", "blind", "error ratio ≤ 2", "median ratio",
                "failures doubted", "seconds")  # fmt: skip
        yield from table(["mean dB", *head], cells)
    for row in rows:
        if "error ratio" not in row:
            means = ", ".join(f"{k} {v:.2f} dB" for k, v in row["decibels"].items())
            yield (
                f"{row['case']}: likeness {row['likeness']:.2f} of {row['at most']:.2f} at most, "
                f"{means}, {row['seconds']:.0f} s, {row['memory'] / 1e6:.0f} MB of the whole "
                "process."
            )
            yield ""


def _trust(rows: Sequence[Result]) -> Lines:
    found = rates(rows)
    yield from _halves(found["halves"])
    if found["volumes"]:
        yield "Volumes:"
        yield ""
        yield from _halves(found["volumes"])
    of = found["searches"]
    yield (
        f"Searches' own verdicts: {of['doubted']} of {of['wrong']} that lost 1 dB or more were "
        f"doubted, and {of['doubted right']} of {of['right']} that did not."
    )
    yield ""
    for kind, (left, count) in found["left as they are"].items():
        yield f"Nothing to deblur, {kind}: said of {left} of {count}."
        yield ""


def _halves(halves: Result) -> Lines:
    for seed, half in halves.items():
        yield (
            f"Seed {seed}: of {half['wrong']} wrong kernels {_percent(half['caught'])} were "
            f"doubted, of {half['true']} true ones {_percent(half['true doubted'])}, of "
            f"{half['nearly right']} nearly right ones {_percent(half['nearly right doubted'])}; "
            f"{half['median seconds']:.1f} s of CPU for each."
        )
        yield ""
    names = list(dict.fromkeys(name for half in halves.values() for name in half["by kind"]))
    if names:
        yield from table(
            ["wrong kernel, doubted", *(f"seed {seed}" for seed in halves)],
            [
                [
                    name,
                    *(
                        "{} of {}".format(*half["by kind"].get(name, (0, 0)))
                        for half in halves.values()
                    ),
                ]
                for name in names
            ],
        )
    yield from table(
        ["limits times", *(f"seed {seed}: wrong, others doubted" for seed in halves)],
        [
            [
                f"{ones[0]['limits times']:g}",
                *(f"{_percent(o['caught'])}, {_percent(o['false alarms'])}" for o in ones),
            ]
            for ones in zip(*(half["curve"] for half in halves.values()), strict=True)
        ],
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"
