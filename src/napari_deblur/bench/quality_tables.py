"""The tables of the quality benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_deblur.bench.tables import number, table

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["quality"]


def quality(result: Result) -> Lines:
    """Write the parts that were measured."""
    if "time" in result:
        yield from _time(result["time"])
    if "stopping" in result:
        yield from _stopping(result)
    for part, title in (
        ("methods", "Methods of the catalogue, everything automatic: gain in dB (seconds)"),
        ("photographs", "Photographs, 8 bits, noise of one grey level: mean gain in dB (seconds)"),
    ):
        if part in result:
            yield from _crossed(result[part], title)
    if "wiener" in result:
        yield from _wiener(result["wiener"])
    if "stacks" in result:
        yield "## Measured stacks"
        yield ""
        keys = ("stack", "way", "measure")
        yield from table(
            [*keys, "value"],
            [[*(row[k] for k in keys), number(row["value"], 3)] for row in result["stacks"]],
        )


def _time(rows: Sequence[Result]) -> Lines:
    yield "## To plain Richardson-Lucy's best, less 0.05 dB"
    yield ""
    for row in rows:
        pace = row["methods"]["richardson-lucy at its pace"]
        yield f"### {row['case']}, seed {row['seed']} (seen: {row['blurred']:.2f} dB)"
        yield ""
        cells = []
        for name, found in row["methods"].items():
            if "missing" in found:
                cells.append([name, found["missing"], *[""] * 6])
                continue
            seconds = found.get("seconds")
            slow = pace.get("seconds")
            faster = f"{slow / seconds:.3g}" if seconds and slow else ""
            cells.append(
                [
                    name,
                    f"{found['best']:.2f} @ {found['best after']}",
                    number(found["reached after"], 0, "never"),
                    number(found.get("transforms"), 0),
                    number(found.get("fewer than plain"), 1),
                    number(seconds, 3),
                    faster,
                    _automatic(found.get("automatic")),
                ]
            )
        head = ["", "best dB @ iteration", "iterations", "transforms", "fewer than plain, ×",
                "seconds", "faster, ×", "automatic"]  # fmt: skip
        yield from table(head, cells)
    yield (
        "Faster: than plain Richardson-Lucy with our start and borders at scikit-image's time per "
        "iteration. Automatic: dB @ iterations, and the seconds that choosing took."
    )
    yield ""


def _automatic(found: Result | None) -> str:
    if not found:
        return ""
    return f"{found['decibels']:.2f} @ {found['iterations']} ({found['choosing']:.2g} s)"


def _stopping(result: Result) -> Lines:
    short = dict(result["stopping, in short"])
    smooth = short.pop("total variation over plain", None)
    yield "## Automatic numbers against the best ones: loss in dB"
    yield ""
    keys = ("median", "nine in ten", "worst")
    yield from table(
        ["", "cases", *keys, "worst case", "choosing, in transforms"],
        [
            [name, row["missing"], *[""] * 5]
            if "missing" in row
            else [
                name,
                str(row["cases"]),
                *(f"{row[k]:.2f}" for k in keys),
                row["worst case"],
                number(row.get("choosing in transforms"), 0),
            ]
            for name, row in short.items()
        ],
    )
    if smooth:
        dim = number(smooth["filaments at 300 photons"], 2, "not measured")
        yield (
            "richardson-lucy-tv less richardson-lucy, both automatic: median "
            f"{smooth['median']:+.2f} dB, worst {smooth['worst']:+.2f} dB "
            f"({smooth['worst case']}), "
            f"filaments at 300 photons {dim} dB."
        )
        yield ""
    yield "<details><summary>Case by case: dB (loss) @ iterations, best</summary>"
    yield ""
    names = list(result["stopping"][0]["methods"])
    yield from table(
        ["", "seen", *names],
        [
            [row["case"], f"{row['blurred']:.2f}", *(_stopped(row["methods"][n]) for n in names)]
            for row in result["stopping"]
        ],
    )
    yield "</details>"
    yield ""


def _stopped(found: Result) -> str:
    if "missing" in found:
        return ""
    text = f"{found['decibels']:.2f} ({found['loss']:.2f})"
    return (
        f"{text} @ {found['iterations']}, {found['best after']}" if "best after" in found else text
    )


def _crossed(rows: Sequence[Result], title: str) -> Lines:
    """Set methods against cases, the best of each case in bold."""
    yield f"## {title}"
    yield ""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = []
    for case in dict.fromkeys(row["case"] for row in rows):
        found = {row["method"]: row for row in rows if row["case"] == case}
        best = max((row["gain"] for row in found.values() if "gain" in row), default=0)
        texts = []
        for name in methods:
            row = found.get(name, {})
            text = f"{row['gain']:+.2f}" if "gain" in row else row.get("missing", "")
            text = f"**{text}**" if row.get("gain") == best else text
            texts.append(f"{text} ({row['seconds']:.2g})" if "seconds" in row else text)
        cells.append([case, *texts])
    yield from table(["", *methods], cells)


def _wiener(rows: Sequence[Result]) -> Lines:
    yield "## Photographs, Gaussian blur, 8 bits: gain of the automatic Wiener filter in dB"
    yield ""
    keys = ("mean gain", "largest gain", "mean gain inside", "largest gain inside",
            "mean gain of the best constant")  # fmt: skip
    yield from table(
        ["σ", "noise", "photographs", *keys],
        [
            [f"{row['sigma']:g}", f"{row['noise']:g}", str(row["photographs"])]
            + [f"{row[k]:.2f}" for k in keys]
            for row in rows
        ],
    )
    yield "Inside: without a border of one kernel, where the answer depends on what wasn't seen."
    yield ""
