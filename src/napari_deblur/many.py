"""One run over many images: each its own plan and output; what fails is listed."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_deblur import batch, claims, fitting, joining, outputs, places, printing, system
from napari_deblur.dealing import Turn, parted, turns_of
from napari_deblur.kernel_verdicts import verdict_of
from napari_deblur.many_inputs import Target, targets_of
from napari_deblur.parts import Part
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.protocols import Cancelled
from napari_deblur.stopping import ImageStopped, RunStopped
from napari_deblur.together import alone, side_by_side, slots_of

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.plans import Plan
    from napari_deblur.progress import Progress

__all__ = ["SUMMARY", "Outcome", "Step", "run", "summary_of", "write_summary"]

SUMMARY = "summary.csv"
BUSY = "busy"
EVERY = 1.0  # seconds between two times that it is written: there may be thousands of lines


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Parameters
    ----------
    input, image, output : str
        `image` says which one of a plate or a file with several.
    state : str
        ``complete``, ``incomplete`` where tiles failed, ``part`` where other parts are not done,
        ``failed``, ``busy`` where another run is writing it, or ``planned``.
    kernel : str
        The verdict on the kernel, of each channel where they differ.
    tiles, failed : int
        Of the plan, and those that could not be restored.
    disk : int
        Bytes that the plan wants at most.
    seconds : float
    note : str
        Why it failed, or what there is to say of the run.
    remarks : str
        What there is to say of the plan.
    """

    input: str
    image: str
    output: str
    state: str
    kernel: str = ""
    tiles: int = 0
    failed: int = 0
    disk: int = 0
    seconds: float = 0.0
    note: str = ""
    remarks: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nothing failed."""
        return self.state not in ("failed", "incomplete", "busy")


@dataclass(frozen=True)
class Step:
    """How far a run over many images is.

    Parameters
    ----------
    number, count : int
        Of the image, from 1, and of all.
    target : Target
    progress : Progress or None
        How far the image is; None while it is planned.
    note : str
        What is being decided.
    outcome : Outcome or None
        In the last step of each image; another one counts where it was busy and has a second turn.
    plan : Plan or None
        In the last step of an image that is only planned.
    """

    number: int
    count: int
    target: Target
    progress: Progress | None = None
    note: str = ""
    outcome: Outcome | None = None
    plan: Plan | None = None

    def __str__(self) -> str:
        said = self.note if self.progress is None else str(self.progress)
        if self.outcome is not None:
            note = self.outcome.note
            said = self.outcome.state + (f": {note}" if note else "")
        return f"image {self.number}/{self.count} {self.target}: {said}"


def run(
    job: Job,
    inputs: Sequence[str],
    folder: str | Path | Remote,
    *,
    plan_only: bool = False,
    fail_fast: bool = False,
    **how: Any,
) -> Iterator[Step]:
    """Do a job on many images; a generator of how far it is.

    What is complete already is passed over, what was begun goes on; what another run is writing has
    its turn again at the end. ``FOLDER/summary.csv`` has a line for each image that had its turn,
    and is written after each; a part has one of its own. A part does small images as a whole, and
    of larger ones some tiles: see `Part.dealt`.

    Parameters
    ----------
    job : Job
        What is asked of each; its input and output are not looked at.
    inputs, folder
        As `targets_of` takes them.
    plan_only : bool
        Plan each, and write nothing.
    fail_fast : bool
        Raise what the first failure raises; else an image that fails is listed.
    **how
        As for `batch.run`: ``workers``, ``scheduler``, ``part``, ``resume``, ``overwrite``,
        ``max_failed``, ``wait``.

    Raises
    ------
    FileNotFoundError, ValueError, FileExistsError, OSError
        At once, when inputs or outputs don't fit or clash.
    RunStopped
        When the disk is full or may not be written to; the run can be continued.
    """
    outputs.refuse_workers(how.get("workers", 0), how.get("scheduler"))
    targets = targets_of(job, inputs, folder)
    part = Part(*how["part"]) if how.get("part") else None
    turns = turns_of(job, targets, None if plan_only else part)
    if not plan_only:
        fitting.refuse_many(how.get("workers", 0))
        names = ("workers", "scheduler", "overwrite")
        place: dict[str, Any] = {name: how[name] for name in names if name in how}
        for turn in turns:
            outputs.refuse_input(turn.target.output, turn.target.input)
            place["part"] = turn.part or part
            refused = partial(outputs.refuse, turn.target.output, **place)
            claims.patiently(refused, how.get("wait", 0.0))
    how["fail_fast"] = fail_fast
    path = None if plan_only else summary_of(folder, how.get("part"))
    return _run(job, turns, how, path)


def summary_of(folder: str | Path | Remote, part: tuple[int, int] | None = None) -> Place:
    """Say where the table of a run is: ``summary.csv``, or ``summary.K-of-N.csv`` of a part."""
    if part is None:
        return place_of(folder) / SUMMARY
    stem, _, suffix = SUMMARY.partition(".")
    return place_of(folder) / f"{stem}.{part[0]}-of-{part[1]}.{suffix}"


def write_summary(path: str | Path | Remote, outcomes: Sequence[Outcome]) -> None:
    """Write a table of what became of each image, as CSV."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [field.name for field in fields(Outcome)], lineterminator="\n")
    table.writeheader()
    table.writerows({**asdict(one), "seconds": round(one.seconds, 3)} for one in outcomes)
    path = place_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    places.write_atomically(path, text.getvalue().encode())


def _run(
    job: Job, turns: Sequence[Turn], how: Mapping[str, Any], summary: Place | None
) -> Iterator[Step]:
    """Do one image after the other; without a `summary` only their plans are made."""
    outcomes: list[Outcome] = []
    plan_only, written = summary is None, -EVERY

    def write() -> None:
        if summary is not None:
            with suppress(OSError):  # a full disk is told by the images
                write_summary(summary, outcomes)

    def write_now_and_then() -> None:
        nonlocal written
        if monotonic() >= written + EVERY:
            write()
            written = monotonic()

    workers = 0 if plan_only else how.get("workers", 0)
    who = {name: how[name] for name in ("workers", "scheduler") if name in how}
    try:
        with _helped({**how, "workers": workers}) as how:
            small, large = parted(job, turns, workers)
            count = len(turns)
            for step in _together(job, small, how, who, count) if small else ():
                if step.outcome is not None:
                    outcomes.append(step.outcome)
                yield step
                write_now_and_then()

            def one(number: int, turn: Turn) -> Iterator[Step]:
                part = None if turn.part is None else (turn.part.number, turn.part.of)
                step, of_part = Step(number, count, turn.target), {**how, "part": part}
                yield from _one(job, step, of_part, who, outcomes, plan_only=plan_only)
                write_now_and_then()

            for number, turn in enumerate(large, len(small) + 1):
                yield from one(number, turn)
            of_output = {str(turn.target.output): turn for turn in turns}
            for before in [outcome for outcome in outcomes if outcome.state == BUSY]:
                yield from one(count, of_output[before.output])
                outcomes.remove(before)
    finally:
        write()


def _together(
    job: Job, turns: Sequence[Turn], how: Mapping[str, Any], who: Mapping[str, Any], count: int
) -> Iterator[Step]:
    """Let each worker do one image after the other; `count` is that of all images."""
    from distributed import KilledWorker

    with slots_of(how["scheduler"]) as slots:
        note = f"{len(turns)} small images, {len(slots)} at a time"
        yield Step(1, count, turns[0].target, note=note)
        inside = {**how, "scheduler": None, "part": None}
        do = partial(alone, partial(_whole, job, inside, who))
        targets = [turn.target for turn in turns]
        for number, (target, future) in enumerate(side_by_side(slots, do, targets), 1):
            stops = None
            try:
                outcome = future.result()
            except KilledWorker:
                note = "worker processes died over it again and again, perhaps of memory"
                outcome = replace(_blank(target), note=note)
            except Exception as error:  # noqa: BLE001 - it is raised when it is in the summary
                stops, outcome = error, replace(_blank(target), note=printing.sentence(error))
            yield Step(number, count, target, outcome=outcome)
            if stops is not None:
                raise stops


def _whole(job: Job, how: Mapping[str, Any], who: Mapping[str, Any], target: Target) -> Outcome:
    """Do one image in this process, one of several."""
    outcomes: list[Outcome] = []
    for _ in _one(job, Step(1, 1, target), how, who, outcomes, plan_only=False):
        pass
    return outcomes[0]


def _blank(target: Target) -> Outcome:
    """Give what is known of an image before anything was done."""
    name = target.image.title or target.image.place
    return Outcome(target.input, name, str(target.output), state="failed")


@contextmanager
def _helped(how: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Start worker processes once for all images: that takes seconds each time."""
    if not how.get("workers"):
        yield how
        return
    from napari_deblur.cluster import local_workers

    system.refuse_unguarded_script()
    with local_workers(how["workers"]) as address:
        yield {**how, "workers": 0, "scheduler": address}


def _one(
    job: Job,
    step: Step,
    how: Mapping[str, Any],
    who: Mapping[str, Any],
    outcomes: list[Outcome],
    *,
    plan_only: bool,
) -> Iterator[Step]:
    target, begun = step.target, monotonic()
    asked, outcome = target.job(job), _blank(target)
    try:
        plan = yield from _planned(asked, step, how, who)
        known: dict[str, Any] = {"tiles": len(plan), "disk": plan.disk}
        known["remarks"] = "; ".join(plan.notes)
        outcome = replace(outcome, state="planned", kernel=_verdict(plan), **known)
        if plan_only:
            step = replace(step, plan=plan)
        elif lacking := _nothing_of(plan, how):
            outcome = replace(outcome, state="part", note=lacking)
        else:
            if how.get("scheduler"):  # of our own workers; else it is done in this process
                fitting.refuse(plan, who.get("workers", 0))
            last = yield from _restored(asked, plan, step, how)
            outcome = replace(outcome, state=last.phase, failed=last.failed, note=last.note)
    except Cancelled:
        raise
    except Exception as error:
        state = BUSY if isinstance(error, claims.Claimed) else "failed"
        outcome = replace(outcome, state=state, note=printing.sentence(error))
        if how["fail_fast"] or _meets_all(error, target, how):
            outcomes.append(replace(outcome, seconds=monotonic() - begun))
            raise
    outcome = replace(outcome, seconds=monotonic() - begun)
    outcomes.append(outcome)
    yield replace(step, outcome=outcome)


def _planned(
    asked: Job, step: Step, how: Mapping[str, Any], who: Mapping[str, Any]
) -> Generator[Step, None, Plan]:
    """Plan an image for those that will do it, which are not started yet or share a scheduler."""
    fresh = how.get("overwrite", False) or not how.get("resume", True)
    of_part = bool(how.get("part"))
    steps = joining.planning(asked, **who) if of_part else asked.planning(resume=not fresh, **who)
    while True:
        try:
            yield replace(step, note=next(steps))
        except StopIteration as done:
            plan: Plan = done.value
            return plan


def _nothing_of(plan: Plan, how: Mapping[str, Any]) -> str:
    """Say that a part has nothing of an image to do: it has fewer files than there are parts."""
    part, files = how.get("part"), len(plan.shards)
    if part is None or len(range(*Part(*part).span(files))):
        return ""
    return f"other parts do its {files} file{'s' if files > 1 else ''}"


def _restored(
    asked: Job, plan: Plan, step: Step, how: Mapping[str, Any]
) -> Generator[Step, None, Progress]:
    last = None
    said = asked.resolved().to_dict()
    with closing(batch.run(plan, asked.output_path, job=said, **how)) as progresses:  # type: ignore[type-var]
        for last in progresses:
            yield replace(step, progress=last)
    assert last is not None
    return last


def _meets_all(error: Exception, target: Target, how: Mapping[str, Any]) -> bool:
    """Whether the next image would fare no better: the output or the scheduler is at fault."""
    if isinstance(error, ImageStopped):
        return False
    if isinstance(error, RunStopped):
        culprit = getattr(error.__cause__, "filename", None)
        source = Path(target.input).expanduser().absolute()
        return culprit is None or not Path(str(culprit)).absolute().is_relative_to(source)
    return isinstance(error, ConnectionError) and how.get("scheduler") is not None


def _verdict(plan: Plan) -> str:
    """Say whether to believe the kernels: once where all channels agree, else for each."""
    if plan.finds_kernels:
        return "one for each tile"
    channels = plan.kernel.report.get("channels", [plan.kernel.report])
    varying = plan.fields or (None,) * len(channels)
    found = [
        verdict_of(report if field is None else field.report)[0]
        for report, field in zip(channels, varying, strict=False)
    ]
    return found[0] if len(set(found)) == 1 else ", ".join(found)
