"""Many inputs in one job: each its own output, what fails is listed, and the rest goes on."""

import csv
import errno
import io
import os
import re
import shutil
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
import zarr
from rich.console import Console
from typer.testing import CliRunner

from napari_deblur import batch, cli, costing, many, system
from napari_deblur.claims import ALL, take
from napari_deblur.commands import run_many
from napari_deblur.commands.run_many import is_for_many, restored_all
from napari_deblur.job import Job
from napari_deblur.many_inputs import means_many, targets_of
from napari_deblur.results import LEDGER, open_result
from napari_deblur.stopping import RunStopped


def image(seed):
    return np.random.default_rng(seed).poisson(60, (5, 20, 22)).astype("u2")


@pytest.fixture
def folder(tmp_path):
    """Give three images of two kinds, of which only the names differ in what a pattern sees."""
    path = tmp_path / "in"
    path.mkdir()
    for n, name in enumerate(("a.tif", "b.ome.tif")):
        tifffile.imwrite(path / name, image(n), metadata={"axes": "ZYX"})
    zarr.create_array(path / "c.zarr", data=image(2), dimension_names=["z", "y", "x"])
    return path


def run(job, inputs, to, **how):
    """Do it; give all steps and the outcomes."""
    steps = list(many.run(job, [str(one) for one in inputs], to, **how))
    return steps, [step.outcome for step in steps if step.outcome is not None]


def places(job, inputs, to="out"):
    found = targets_of(job, [str(one) for one in inputs], to)
    return [(Path(one.input).name, str(one.output)) for one in found]


def restored(job, path):
    """Restore one image alone."""
    alone = replace(job, input=str(path), output=str(path.parent / f"alone-{path.name}.zarr"))
    list(alone.run())
    found = np.asarray(open_result(alone.output).levels[0])
    shutil.rmtree(alone.output)
    return found


# What is meant, and where it goes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "output", "several"),
    [
        (["in/*.tif"], "out.deblur.zarr", True),
        (["in"], None, True),
        (["in/a.tif", "in/c.zarr"], "out", True),
        (["in/a.tif"], "out", True),
        (["in/a.tif"], "out/", True),
        (["in/a.tif"], "in", True),
        (["in/a.tif"], None, False),
        (["in/a.tif"], "out.deblur.zarr", False),
        (["in/a.tif"], "out.jpg", False),
        (["in/c.zarr"], "c.tif", False),
        (["s3://bucket/*.zarr"], None, True),
        (["s3://bucket/a[1].zarr"], None, False),
        (["https://[::1]/a.zarr"], None, False),
    ],
)
def test_patterns_folders_and_several_mean_many(folder, monkeypatch, inputs, output, several):
    monkeypatch.chdir(folder.parent)
    assert means_many(inputs, output) is several


def test_a_name_with_brackets_is_no_pattern_where_it_is_there(folder, job):
    path = shutil.copy(folder / "a.tif", folder / "a[1].tif")
    assert not means_many([str(path)], None)
    assert places(job, [path]) == [("a[1].tif", "out/a[1].deblur.zarr".replace("/", os.sep))]


def test_patterns_and_folders_give_each_image_once(folder, job):
    everything = [
        ("a.tif", str(Path("out", "a.deblur.zarr"))),
        ("b.ome.tif", str(Path("out", "b.deblur.zarr"))),
        ("c.zarr", str(Path("out", "c.deblur.zarr"))),
    ]
    assert places(job, [folder / "*"]) == everything
    assert places(job, [folder]) == everything
    assert places(job, [folder / "*.tif", folder, folder / "a.tif"]) == everything
    assert places(job, [folder / "c.zarr", folder / "a*"]) == [everything[2], everything[0]]
    assert places(job, [folder.parent / "**" / "c.zarr"]) == everything[2:]


def test_of_a_folder_kernels_notes_and_hidden_files_are_left_out(folder, job):
    (folder / "notes.txt").write_text("about them")
    (folder / ".a.tif").write_bytes(b"")
    shutil.copy(job.kernel, folder / "psf.tif")
    inside = replace(job, kernel=str(folder / "psf.tif"))
    assert [name for name, _ in places(inside, [folder])] == ["a.tif", "b.ome.tif", "c.zarr"]
    by_channel = replace(job, kernel={"0": str(folder / "psf.tif")})
    assert len(places(by_channel, [folder])) == 3
    # What is empty may be an image that was lost: it is tried, and said.
    (folder / "lost.tif").write_bytes(b"")
    assert "lost.tif" in [name for name, _ in places(inside, [folder])]


def test_results_beside_their_inputs_are_no_inputs(folder, job):
    pattern = folder / "*.zarr"
    assert [o.state for o in run(job, [pattern], folder)[1]] == ["complete"]
    assert [name for name, _ in places(job, [pattern], folder)] == ["c.zarr"]
    # Nor are they elsewhere, unless that is asked for.
    assert [name for name, _ in places(job, [pattern], "out")] == ["c.zarr"]
    assert "c.deblur.zarr" not in [name for name, _ in places(job, [folder], "out")]
    results = [folder / "*.deblur.zarr"], [folder / "c.deblur.zarr"]
    for inputs in results:
        assert [name for name, _ in places(job, inputs, "out")] == ["c.deblur.zarr"]
    with pytest.raises(FileNotFoundError, match=r'only results match ".*": write \.deblur into it'):
        places(job, [folder / "c.d*"], "out")


def test_two_images_for_one_place_are_refused_before_anything_runs(folder, job, tmp_path):
    shutil.copy(folder / "a.tif", folder / "a.ome.tif")
    with pytest.raises(ValueError, match=r"a\.ome\.tif and .*a\.tif would both go to .*a\.deblur"):
        many.run(job, [str(folder / "*.tif")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("inputs", "to", "said", "error"),
    [
        (["in/*.png"], "out", 'nothing matches "in/.*png"', FileNotFoundError),
        (["in/x.tif"], "out", 'there is no file or folder "in/x.tif"', FileNotFoundError),
        (["empty"], "out", "there is no image in 'empty'", FileNotFoundError),
        (["in/*"], "out.tif", "many images need a folder .*out.tif", ValueError),
        (["in/a.tif", "in/c.zarr"], "in/c.zarr", "many images need a folder", ValueError),
        (["in/c.zarr"], "in/c.zarr/out", "are one: choose another output", ValueError),
        (["in/a.tif"], "https://host/out", "is on the web", ValueError),
        (["https://host/in/*.zarr"], "out", "the web has no lists .*name each image", ValueError),
        (["s3://lab/**/a.zarr"], "out", r"would look into everything.*a part of one", ValueError),
        (["in/a.tif"], "kernel.tif/out", "cannot be made", OSError),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    folder, job, monkeypatch, inputs, to, said, error
):
    monkeypatch.chdir(folder.parent)
    Path("empty").mkdir()
    with pytest.raises(error, match=said):
        many.run(job, inputs, to)


def test_a_foreign_output_is_refused_before_anything_runs(folder, job, tmp_path):
    (tmp_path / "out" / "c.deblur.zarr").mkdir(parents=True)
    (tmp_path / "out" / "c.deblur.zarr" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"c\.deblur\.zarr exists and is no result"):
        many.run(job, [str(folder)], tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["c.deblur.zarr"]


# Doing it -----------------------------------------------------------------------------------------


def test_each_image_is_restored_as_if_it_were_alone(folder, job, tmp_path):
    out = tmp_path / "new" / "out"
    steps, outcomes = run(job, [folder], out)
    assert [o.state for o in outcomes] == ["complete"] * 3
    for name, path in (("a", "a.tif"), ("b", "b.ome.tif"), ("c", "c.zarr")):
        result = open_result(out / f"{name}.deblur.zarr")
        assert result.complete
        np.testing.assert_array_equal(result.levels[0], restored(job, folder / path))
        assert result.job["input"] == str(folder / path)
    # One progress: which image of how many, and which tile of how many.
    assert [s.number for s in steps] == sorted(s.number for s in steps)
    assert {(s.number, s.count) for s in steps} == {(1, 3), (2, 3), (3, 3)}
    done = [s.progress for s in steps if s.number == 2 and s.progress is not None]
    assert (done[-1].done, done[-1].total) == (1, 1)
    assert str(steps[-1]) == "image 3/3 c.zarr: complete"


def test_the_summary_has_a_line_for_each(folder, job, tmp_path):
    _, outcomes = run(job, [folder], tmp_path / "out")
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["input"]).name for row in rows] == ["a.tif", "b.ome.tif", "c.zarr"]
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert {row["kernel"] for row in rows} == {"not judged"}
    assert {(row["tiles"], row["failed"]) for row in rows} == {("1", "0")}
    assert all(
        0 < float(row["seconds"]) == round(o.seconds, 3)
        for row, o in zip(rows, outcomes, strict=True)
    )


def test_an_input_that_fails_is_listed_and_the_others_go_on(folder, job, tmp_path):
    (folder / "a.tif").write_bytes(b"II*\0damaged")
    (folder / "aa.tif").write_bytes(b"")
    _, outcomes = run(job, [folder], tmp_path / "out")
    assert [o.state for o in outcomes] == ["failed", "failed", "complete", "complete"]
    assert "a.tif" in outcomes[0].note
    assert "is empty (0 bytes)" in outcomes[1].note
    assert [o.is_well for o in outcomes] == [False, False, True, True]
    assert "is empty (0 bytes)" in (tmp_path / "out" / "summary.csv").read_text("utf-8")
    with pytest.raises(ValueError, match=r"a\.tif"):
        run(job, [folder], tmp_path / "out2", fail_fast=True)
    assert len((tmp_path / "out2" / "summary.csv").read_text("utf-8").splitlines()) == 2


def test_an_input_that_vanished_meanwhile_fails_alone(folder, job, tmp_path):
    steps = many.run(job, [str(folder)], tmp_path / "out")
    next(steps)
    shutil.rmtree(folder / "c.zarr")
    outcomes = [step.outcome for step in steps if step.outcome is not None]
    assert [o.state for o in outcomes] == ["complete", "complete", "failed"]
    assert "there is no file or folder" in outcomes[2].note


def test_what_is_complete_is_passed_over_without_planning(folder, job, tmp_path, monkeypatch):
    run(job, [folder / "*.tif"], tmp_path / "out")

    def planned(*_, **__):
        raise AssertionError("was planned again")

    with monkeypatch.context() as patch:
        patch.setattr("napari_deblur.planning.planning", planned)
        _, outcomes = run(job, [folder / "*.tif"], tmp_path / "out")
    assert [(o.state, o.note) for o in outcomes] == [("complete", "it was complete already")] * 2
    # A new one joins those that are there.
    _, outcomes = run(job, [folder], tmp_path / "out")
    assert [o.note for o in outcomes] == ["it was complete already"] * 2 + [""]
    # With other numbers they are other results, which are not overwritten unasked.
    other = replace(job, parameters={"iterations": 3, "background": 0.0})
    _, outcomes = run(other, [folder], tmp_path / "out")
    assert {o.state for o in outcomes} == {"failed"}
    assert "holds the result of another plan" in outcomes[0].note
    _, outcomes = run(other, [folder], tmp_path / "out", overwrite=True)
    assert {o.state for o in outcomes} == {"complete"}


@pytest.mark.parametrize("long", [False, True])
def test_what_another_run_is_writing_has_its_turn_again_at_the_end(folder, job, tmp_path, long):
    found, held = [], []
    for step in many.run(job, [str(folder)], tmp_path / "out"):
        if step.outcome is None:
            continue
        found.append((Path(step.outcome.input).name, step.outcome.state))
        if len(found) == 1:
            held.append(take(tmp_path / "out/b.deblur.zarr" / LEDGER, "", ALL))
        elif len(found) == 3 and not long:
            held.pop().release()
    last = "busy" if long else "complete"
    assert found == [("a.tif", "complete"), ("b.ome.tif", "busy"), ("c.zarr", "complete"),
                     ("b.ome.tif", last)]  # fmt: skip
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        states = {Path(row["input"]).name: row["state"] for row in csv.DictReader(file)}
    assert states == {"a.tif": "complete", "b.ome.tif": last, "c.zarr": "complete"}
    for claim in held:
        claim.release()


def test_of_an_image_that_had_two_turns_the_last_counts(job):
    target = targets_of(job, [str(Path(__file__))], "out")[0]
    ends = [many.Outcome("a", "", "out/a", state) for state in ("busy", "complete")]
    steps = [many.Step(1, 1, target, outcome=one) for one in ends]
    assert run_many._followed(iter(steps)) == ends[1:]


def test_a_run_that_was_stopped_goes_on(folder, job, tmp_path):
    steps = many.run(job, [str(folder)], tmp_path / "out")
    for step in steps:
        if step.number == 2 and step.progress is not None:
            break
    steps.close()
    assert len((tmp_path / "out" / "summary.csv").read_text("utf-8").splitlines()) == 2
    _, outcomes = run(job, [folder], tmp_path / "out")
    assert [o.state for o in outcomes] == ["complete"] * 3
    assert outcomes[0].note == "it was complete already"


def test_plans_alone_write_nothing(folder, job, tmp_path):
    (folder / "a.tif").write_bytes(b"")
    _, outcomes = run(job, [folder], tmp_path / "out", plan_only=True)
    assert [o.state for o in outcomes] == ["failed", "planned", "planned"]
    assert [o.tiles for o in outcomes] == [0, 1, 1]
    assert outcomes[1].disk > 0
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_all(folder, job, tmp_path, monkeypatch):
    monkeypatch.setattr(batch.system, "free_disk", lambda _: 1000)
    with pytest.raises(RunStopped, match="free some space"):
        run(job, [folder], tmp_path / "out")


def test_a_scheduler_that_is_gone_stops_all_but_an_unreadable_input_does_not(tmp_path):
    target = targets_of(Job("x"), [str(Path(__file__))], "out")[0]
    gone = ConnectionError("no scheduler answers")
    assert many._meets_all(gone, target, {"scheduler": "tcp://a:1"})
    assert not many._meets_all(gone, target, {})

    def stopped(path):
        error = RunStopped("stopped")
        error.__cause__ = PermissionError(errno.EACCES, "not yours", str(path))
        return error

    assert many._meets_all(stopped(tmp_path / "out"), target, {})
    assert not many._meets_all(stopped(target.input), target, {})


def test_an_ome_tiff_that_is_spread_over_files_is_taken_once(folder, job):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="22" SizeY="20" '
        'SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0" SamplesPerPixel="1"/>'
        '<TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="s_0.ome.tif">urn:uuid:'
        "00000000-0000-0000-0000-000000000000</UUID></TiffData>"
        '<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="s_1.ome.tif">urn:uuid:'
        "00000000-0000-0000-0000-000000000001</UUID></TiffData></Pixels></Image></OME>"
    )
    for n in range(2):
        head = xml.replace("<OME ", f'<OME UUID="urn:uuid:00000000-0000-0000-0000-00000000000{n}" ')
        tifffile.imwrite(folder / f"s_{n}.ome.tif", image(n)[0], description=head, metadata=None)
    assert [name for name, _ in places(job, [folder / "s_*"])] == ["s_0.ome.tif"]


def test_the_verdict_on_the_kernel_is_that_of_each_channel(folder, job, tmp_path):
    plan = replace(job, input=str(folder / "a.tif")).plan()

    def told(report):
        return many._verdict(replace(plan, kernel=replace(plan.kernel, report=report)))

    assert told({"verdict": "believe", "why": ""}) == "believe"
    assert told({"channels": [{"verdict": "believe"}, {"doubt": "noise"}]}) == "believe, doubtful"
    assert told({"channels": [{"verdict": "believe"}] * 2}) == "believe"
    assert many._verdict(replace(plan, scope="tile")) in ("one for each tile", "not judged")


def test_workers_are_started_once_for_all(folder, job, tmp_path, monkeypatch):
    from contextlib import contextmanager

    from napari_deblur import cluster, dealing

    started, asked = [], []

    @contextmanager
    def local(workers):
        started.append(workers)
        yield "tcp://here:1"

    def noted(plan, output, *, workers=0, scheduler=None, **how):
        asked.append((workers, scheduler))
        return real(plan, output, **how)

    real = batch.run
    monkeypatch.setattr(dealing, "TINY", 0)
    monkeypatch.setattr(cluster, "local_workers", local)
    monkeypatch.setattr(batch, "run", noted)
    _, outcomes = run(job, [folder], tmp_path / "out", workers=2)
    assert {o.state for o in outcomes} == {"complete"}
    assert (started, set(asked)) == ([2], {(0, "tcp://here:1")})


def test_parts_do_all_images_together(folder, job, tmp_path):
    cut = replace(job, tile=(1, 16, 16))
    _, first = run(cut, [folder / "*.tif"], tmp_path / "out", part=(1, 2))
    assert [o.state for o in first] == ["part", "part"]
    assert all(o.is_well for o in first)
    _, second = run(cut, [folder / "*.tif"], tmp_path / "out", part=(2, 2))
    assert [o.state for o in second] == ["complete", "complete"]
    assert open_result(tmp_path / "out" / "a.deblur.zarr").complete


# From the command line ----------------------------------------------------------------------------


def command(job, *paths, status=0, **how):
    """Run what the command `run` calls for many images; stdout and stderr."""
    app = typer.Typer()
    app.command()(lambda: restored_all(job, [str(path) for path in paths], how, **only))
    only = {"plan_only": how.pop("plan_only")} if "plan_only" in how else {}
    done = CliRunner().invoke(app, [])
    assert done.exit_code == status, done.output
    return done.stdout, done.stderr


def test_the_report_is_a_table_with_what_failed_below(folder, job, tmp_path):
    (folder / "b.ome.tif").write_bytes(b"")
    out, progress = command(job, folder, tmp_path / "out", status=3)
    head, *rows, last = out.splitlines()
    assert head.split() == ["image", "state", "kernel", "tiles", "failed", "time", "output"]
    assert [row.split()[:2] for row in rows] == [
        ["a.tif", "complete"],
        ["b.ome.tif", "failed"],
        ["c.zarr", "complete"],
    ]
    assert last.startswith("3 images in ")
    assert last.endswith(f", 1 failed: {tmp_path / 'out' / 'summary.csv'}")
    assert "image 1/3 a.tif: looking at a" in progress
    assert "image 3/3 c.zarr: complete" in progress
    assert "error: b.ome.tif: the file" in progress


def test_plans_of_many_are_a_table_too(folder, job, tmp_path):
    out, told = command(job, folder, tmp_path / "out", plan_only=True)
    head, *rows, tiles, time, disk, last = out.splitlines()
    assert head.split() == ["image", "kernel", "tiles", "disk", "output"]
    assert len(rows) == 3
    assert tiles.split() == ["tiles", "3"]
    assert re.fullmatch(r"time +about .* on one such machine, of which .* to plan", time)
    assert re.fullmatch(r"disk +about \S+ kB at most, .* are free", disk)
    assert last.startswith("3 images in ")
    assert last.endswith(", 0 failed")
    assert "timing a tile of each method" in told


def test_plans_of_many_say_what_they_cost_in_parts_on_workers_and_a_full_disk(
    folder, job, tmp_path, monkeypatch
):
    (folder / "a.tif").write_bytes(b"")
    monkeypatch.setattr(system, "free_disk", lambda path: 1000)
    how = {"plan_only": True, "workers": 2, "part": (1, 2), "status": 3}
    out, _ = command(job, folder, tmp_path / "out", **how)
    assert "by 2 processes on one such machine" in out
    assert re.search(r"\non 2 +about .* on each; .* machine hours in all\n", out)
    assert "1 kB are free: NOT ENOUGH, choose an output on another disk" in out


def test_the_time_of_many_images_is_that_of_planning_them_too(folder, job):
    plan = replace(job, input=str(folder / "a.tif")).plan()
    total = costing.Sum(workers=2, rate=0.0)
    for _ in range(3):
        total.add(plan, seconds=100.0)
    said = dict(total.rows(3, inf))
    assert (
        said["time"]
        == "about 2 min 30 s by 2 processes on one such machine, of which 2 min 30 s to plan"
    )
    assert said["on 3"].startswith("about 50 s on each")


def test_without_a_folder_for_the_results_the_usage_is_wrong(folder, job):
    _, said = command(job, folder / "*.tif", status=2)
    assert "name a folder for the results of many images, last" in " ".join(said.split())


@pytest.mark.parametrize(
    ("paths", "many_images"),
    [
        (["a.tif"], False),
        (["a.tif", "b.deblur.zarr"], False),
        (["a.tif", "b.tif", "out"], True),
        (["*.tif"], True),
        (["a.tif", "out"], True),
    ],
)
def test_a_command_with_several_paths_is_for_many(paths, many_images):
    assert is_for_many(paths) is many_images


def test_the_command_run_takes_patterns_several_files_and_jobs(folder, job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["--kernel", job.kernel, "--method", "richardson-lucy", "--set", "iterations=2"]

    def call(*arguments, status=0):
        done = CliRunner().invoke(cli.app, ["run", *map(str, arguments)])
        assert done.exit_code == status, done.output
        return done.output

    assert "2 images in" in call("in/*.tif", "out", *asked)
    call("in/a.tif", "in/b.ome.tif", "in/c.zarr", "out", *asked)
    assert sorted(os.listdir("out")) == [
        *(f"{name}.deblur.zarr" for name in "abc"),
        "summary.csv",
    ]
    replace(job, input="in/*", output="out2").save("job.toml")
    assert "3 images in" in call("job.toml")
    Path("in", "d.tif").touch()
    call("in", "out3", *asked, status=3)
    call("in", "out4", *asked, "--fail-fast", status=1)
    call("in/*.tif", *asked, status=2)


def test_a_terminal_shows_images_and_tiles(folder, job, tmp_path):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, highlight=False, markup=False)
    steps = many.run(job, [str(folder)], tmp_path / "out")
    told = list(run_many._with_bars(steps, console))
    assert sum(step.outcome is not None for step in told) == 3
    shown = text.getvalue()
    assert "3/3" in shown
    assert "c.zarr" in shown
