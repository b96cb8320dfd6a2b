import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_deblur import cli
from napari_deblur.job import ChannelTable, Job
from napari_deblur.job_options import job_of
from napari_deblur.kernels import load_kernel, save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import open_result

LUCY = ["--method", "richardson-lucy", "--set", "iterations=4"]
BLIND_LUCY = ["--method", "blind-richardson-lucy", "--set", "rounds=2"]


@pytest.fixture
def volume():
    rng = np.random.default_rng(5)
    light = np.zeros((8, 40, 48))
    light[rng.integers(0, 8, 25), rng.integers(0, 40, 25), rng.integers(0, 48, 25)] = 3000
    from scipy.ndimage import gaussian_filter

    return rng.poisson(10 + gaussian_filter(light, (0, 1.2, 1.2))).astype("u2")


@pytest.fixture
def path(tmp_path, volume):
    tifffile.imwrite(tmp_path / "cells.tif", volume, metadata={"axes": "ZYX"})
    return str(tmp_path / "cells.tif")


@pytest.fixture
def kernel(tmp_path):
    made = Gaussian(sigma=(0.0, 1.2, 1.2))((1, 7, 7), (1.0, 1.0, 1.0))
    save_kernel(Kernel(made.at()), tmp_path / "kernel.tif")
    return str(tmp_path / "kernel.tif")


def call(*arguments, status=0):
    """Run the command line in this process; stdout and stderr as one text of single spaces."""
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def refused(*arguments):
    """Run what must fail with one sentence and status 1."""
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == 1, done.output
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert done.stderr.splitlines()[-1] == said[0]
    assert "Traceback" not in done.output
    return said[0].removeprefix("error: ")


def program(*arguments, **options):
    """Start the command line as users do."""
    return subprocess.Popen(
        [sys.executable, "-m", "napari_deblur", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PYTHONUTF8": "1"},
        **options,
    )


# Quick, and without heavy imports ----------------------------------------------------------------


def test_importing_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, napari_deblur.cli\n"
        "heavy = {'torch', 'dask', 'distributed', 'zarr', 'napari', 'scipy', 'tifffile', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_names_every_command():
    process = program("--help")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for name in ("demo", "info", "list", "estimate", "run", "verify"):
        assert f"{name} " in text


# list, info ---------------------------------------------------------------------------------------


def test_list_has_one_line_for_each_and_tells_finders_from_restorers():
    done = CliRunner().invoke(cli.app, ["list"])
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"methods", "psfs", "readers", "gaussian", "tiff", "ome-zarr"} <= set(lines)
    assert "finds kernels + restores  " in lines["blind-richardson-lucy"]
    assert "finds" not in lines["richardson-lucy"]
    assert "*.tif" in lines["tiff"]
    assert all(line.rstrip().endswith(".") for name, line in lines.items() if line[0] == " ")


def test_info_says_what_the_reader_saw(tmp_path, path):
    said = call("info", path)
    assert "reader tiff" in said
    assert "axes z 8, y 40, x 48" in said
    assert "voxel size not stated" in said
    assert "0.2 × 0.1 × 0.1 µm" in call("info", path, "--pixel-size", "0.2,0.1,0.1")


def test_info_of_a_result_says_how_it_was_made(tmp_path, path, kernel):
    call("run", path, tmp_path / "out.zarr", *LUCY, "--kernel", kernel)
    said = call("info", tmp_path / "out.zarr")
    assert "complete yes" in said
    assert "method richardson-lucy, iterations 4" in said
    assert "kernel 1 × 7 × 7 voxels" in said


# run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tif", "zarr"])
@pytest.mark.parametrize("to", ["out.deblur.zarr", "out.tif"])
def test_every_input_goes_to_every_output(tmp_path, volume, path, kernel, kind, to):
    if kind == "zarr":
        path = tmp_path / "cells.zarr"
        zarr.create_array(path, data=volume)
    said = call(
        *("run", path, tmp_path / to, *LUCY, "--kernel", kernel, "--axes", "zyx"),
        *("--tile", "8,32,48"),
    )
    assert "note: the kernel has no voxel size: it is taken to have the image's" in said
    assert f"{tmp_path / to}" in said
    if to.endswith(".tif"):
        image = tifffile.imread(tmp_path / to)
        assert load_kernel_shape(tmp_path / "out.kernels.tif") == (7, 7)
    else:
        image = open_result(tmp_path / to).levels[0][:]
    assert image.shape == volume.shape
    # Four iterations leave some noise above the background, which nothing can be below.
    assert image.sum() == pytest.approx(volume.sum(), rel=0.2)
    assert image.max() > volume.max()


def load_kernel_shape(path):
    return tifffile.imread(path).shape[-2:]


def test_the_default_is_blind_and_named_after_the_input(tmp_path, path):
    said = call("run", path, "--shape", "7,7", "--set", "families=gaussian")
    result = open_result(tmp_path / "cells.deblur.zarr")
    assert str(result.path) in said
    assert result.complete
    assert result.plan.kernel.shape == (1, 7, 7)
    assert result.plan.kernel.report["method"] == "blind"


def test_the_plan_is_printed_and_nothing_written(tmp_path, path, kernel):
    before = sorted(tmp_path.iterdir())
    said = call("run", path, *LUCY, "--kernel", kernel, "--plan", "--tile", "8,24,48")
    for word in ("tiles 2", "halo y ", "seam ", "for each task", "work ", "on the disk", "key "):
        assert word in said
    assert sorted(tmp_path.iterdir()) == before


def test_a_kernel_for_each_channel_by_name_or_number(tmp_path, volume, kernel):
    path = tmp_path / "two.ome.tif"
    channels = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, volume[:2], metadata=channels, photometric="minisblack")
    save_kernel(Kernel(np.ones((3, 3))), tmp_path / "other.tif")
    call(
        *("run", path, tmp_path / "o.zarr", *LUCY),
        *("--kernel", f"DAPI={kernel}", "--kernel", f"1={tmp_path / 'other.tif'}"),
    )
    kernels = open_result(tmp_path / "o.zarr").plan.kernel
    assert kernels.array.shape == (1, 2, 1, 7, 7)
    assert kernels.at(0, 1)[0, 3, 3] == pytest.approx(1 / 9)


def test_a_kernel_of_another_voxel_size_is_resampled(tmp_path, path, kernel):
    size = ("--pixel-size", "0.4,0.2,0.2", "--kernel-pixel-size", "0.1,0.1")
    said = call("run", path, tmp_path / "o.zarr", *LUCY, "--kernel", kernel, *size)
    assert "was resampled to the image's" in said


def test_a_kernel_larger_than_the_image_works(tmp_path, path):
    save_kernel(Kernel(np.ones((1, 61, 61))), tmp_path / "large.tif")
    call("run", path, tmp_path / "o.zarr", *LUCY, "--kernel", tmp_path / "large.tif")
    assert open_result(tmp_path / "o.zarr").complete


def test_background_is_left_out_on_wish(tmp_path, path, kernel):
    both = []
    for name, options in (("a", []), ("b", ["--no-background"])):
        call("run", path, tmp_path / f"{name}.zarr", *LUCY, "--kernel", kernel, *options)
        both.append(open_result(tmp_path / f"{name}.zarr"))
    background = both[0].plan.channels[0].facts.background
    difference = both[0].levels[0][:] - both[1].levels[0][:]
    np.testing.assert_allclose(difference, background, rtol=1e-4, atol=1e-3)


def test_colours_can_be_restored_in_light(tmp_path, volume, kernel):
    from PIL import Image

    picture = np.stack([volume[0]] * 3, axis=-1)
    picture = (picture * (255 / picture.max())).astype("u1")
    Image.fromarray(picture).save(tmp_path / "a.png")
    call(
        *("run", tmp_path / "a.png", tmp_path / "o.zarr", *LUCY, "--kernel", kernel),
        *("--gamma", "srgb"),
    )
    result = open_result(tmp_path / "o.zarr")
    assert result.plan.gamma == "srgb"
    assert result.levels[0].dtype == "u1"


def test_a_job_file_runs_and_options_go_before_it(tmp_path, path, kernel):
    job = Job(path, method="richardson-lucy", parameters={"iterations": 9}, kernel=kernel)
    job.save(tmp_path / "job.toml")
    call("run", tmp_path / "job.toml", tmp_path / "o.zarr", "--set", "iterations=2")
    result = open_result(tmp_path / "o.zarr")
    assert result.plan.channels[0].method.iterations == 2
    assert Job.from_dict(result.job).parameters == {"iterations": 2}
    assert "iterations 9" in call("run", tmp_path / "job.toml", "--plan")


def test_options_that_change_nothing_else_leave_the_parameters_of_a_job_file(
    tmp_path, path, kernel
):
    given = {"method": "richardson-lucy", "parameters": {"iterations": 9}}
    blur = {"psf": "gaussian", "psf_parameters": {"sigma": (0.3, 0.2, 0.2)}}
    file = str(tmp_path / "job.toml")
    Job(path, pixel_size=(1, 0.1, 0.1), **given, **blur).save(file)

    def read(**options):
        job = job_of({"input": file, **options})
        return job.parameters, job.psf_parameters

    sigma = {"sigma": [0.3, 0.2, 0.2]}
    assert read() == read(method="richardson-lucy") == read(psf="gaussian")
    assert read()[1]["sigma"] == (0.3, 0.2, 0.2) or read()[1] == sigma
    assert read(kernel=[f"DAPI={kernel}"]) == read()  # the other channels keep their psf
    assert read(method="wiener")[0] == read(psf="disc")[1] == read(kernel=[kernel])[1] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "wiener"], "Invalid value for --method: the job file has one for channel 0"),
        (["--set", "iterations=3"], "Invalid value for --set: the job file has one for channel 0"),
        (["--n-sample", "1.4"], "Invalid value for --n-sample: the job file has one for channel "),
    ],
)
def test_options_that_a_table_of_a_job_file_would_go_before_are_refused(
    tmp_path, path, arguments, said
):
    table = ChannelTable(0, method="richardson-lucy", parameters={"iterations": 9}, n_sample=1.33)
    Job(path, method="identity", channel=(table,)).save(tmp_path / "job.toml")
    done = CliRunner().invoke(
        cli.app, ["run", str(tmp_path / "job.toml"), *arguments], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_replay_gives_the_same_bits(tmp_path, path):
    tile = ("--tile", "8,24,48", "--accept-seam", "--shape", "5,5", "--set", "iterations=4")
    tile += (*BLIND_LUCY,)
    call("run", path, tmp_path / "a.deblur.zarr", *tile)
    call("run", "--replay", tmp_path / "a.deblur.zarr")
    first = open_result(tmp_path / "a.deblur.zarr")
    again = open_result(tmp_path / "a.replay.deblur.zarr")
    assert again.key == first.key
    assert again.levels[0][:].tobytes() == first.levels[0][:].tobytes()
    assert again.kernels[:].tobytes() == first.kernels[:].tobytes()
    call("run", "--replay", tmp_path / "a.deblur.zarr", tmp_path / "b.deblur.zarr")
    assert open_result(tmp_path / "b.deblur.zarr").key == first.key


def test_a_replay_takes_no_other_options(tmp_path, path, kernel):
    call("run", path, tmp_path / "a.zarr", *LUCY, "--kernel", kernel)
    said = call("run", "--replay", tmp_path / "a.zarr", "--seam", "0.01", status=2)
    assert "takes no seam" in said


def test_an_unfinished_run_goes_on(tmp_path, path, kernel):
    job = Job(path, str(tmp_path / "o.zarr"), method="richardson-lucy", kernel=kernel,
              parameters={"iterations": 4}, tile=(8, 24, 24), accept_seam=True)  # fmt: skip
    run = job.run()
    next(run), next(run)
    run.close()
    assert not open_result(job.output_path).complete
    options = ("--tile", "8,24,24", "--accept-seam")
    said = call("run", path, tmp_path / "o.zarr", *LUCY, "--kernel", kernel, *options)
    assert "goes on after 1 of 4 tiles" in said
    assert open_result(job.output_path).complete


def test_another_result_is_overwritten_on_wish_only(tmp_path, path, kernel):
    out = tmp_path / "o.zarr"
    call("run", path, out, *LUCY, "--kernel", kernel)
    other = ("run", path, out, "--method", "wiener", "--kernel", kernel)
    assert f"{out} holds the result of another plan" in refused(*other)
    call(*other, "--overwrite")
    assert "method wiener" in call("info", out)


def test_what_is_not_ours_is_never_removed(tmp_path, path, kernel):
    for name in ("theirs.zarr", "theirs.tif"):
        theirs = tmp_path / name
        if name.endswith(".zarr"):
            zarr.create_array(theirs, data=np.ones((4, 4)))
        else:
            tifffile.imwrite(theirs, np.ones((4, 4), "u1"))
        options = ("run", path, theirs, *LUCY, "--kernel", kernel)
        assert f"{theirs} exists" in refused(*options)
        refused(*options, "--overwrite")
        assert theirs.exists()


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.tif"], 'there is no file or folder "'),
        (["text.tif"], r'is of no known kind, whatever its name: what can be opened is'),
        (["plain.zarr"], 'no axes are stated: name them, e.g. axes="zyx"'),
        (["cells.tif", "--axes", "zyxc"], "axes"),
        (["cells.tif", "--axes", "zqx"], "axes"),
        (["cells.tif", "--method", "nope"], 'no method "nope"; there are: accelerated-rich'),
        (["cells.tif", "--set", "depth=3"], 'no parameter "depth"; there are: families ()'),
        (["cells.tif", "--set", "seed=x"], 'seed of blind is "x" and must be int'),
        (["cells.tif", *BLIND_LUCY, "--set", "rounds=0"], "rounds is 0 and must be "),
        (["cells.tif", "--method", "wiener"], "wiener needs a kernel: give one or a psf, or take"),
        (["cells.tif", "--scope", "all"], 'scope "all" is not one of channel, '),
        (["cells.tif", "--gamma", "2.2"], 'gamma "2.2" is not one of linear, srgb'),
        (["cells.tif", "--dtype", "int8"], 'dtype "int8" is not one of float32'),
        (["cells.tif", "--device", "abacus"], 'there is no device "abacus" here'),
        (["cells.tif", "--times", "3"], "has no axis t: leave times out, or name the axes"),
        (["cells.tif", "--times", "0:9"], "has no axis t: leave times out, or name the axes"),
        (["cells.tif", "--channels", "GFP"], 'there is no channel "GFP"'),
        (["cells.tif", "--region", "0:9,:,:"], "region along z 0:9 does not lie inside 0:8"),
        (["cells.tif", "--tile", "16,16"], 'has 2 values but the stack has axes "zyx"'),
        (["cells.tif", "out.jpg"], 'ends in ".jpg": use .deblur.zarr or .tif'),
        (["cells.tif", "cells.tif"], "are one: choose another output"),
        (["--replay", "gone.zarr"], "no result at gone.zarr"),
        (["gone.toml"], 'there is no job "gone.toml"'),
        (["cells.tif", "--kernel", "gone.tif"], "there is no kernel at gone.tif"),
        (["cells.tif", "--kernel", "zero.npy"], "the kernel is zero everywhere"),
        (["cells.tif", "--kernel", "five.npy"], "kernel"),
        (["cells.tif", "--kernel", "text.tif"], "holds no kernel that can be read"),
        (["cells.tif", "text.zarr"], "exists and is no result"),
        (["cells.tif", "text.zarr", "--overwrite"], "is not overwritten"),
        (["cells.tif", "plain.zarr", "--overwrite"], "is not overwritten"),
        (["cells.tif", "foreign.tif", "--overwrite"], "only results of napari-deblur are overw"),
        (["cells.tif", "text.tif/o.zarr"], "cannot be made"),
        (["cells.tif", "--workers", "2", "--scheduler", "tcp://x:1"], "exclude each other"),
        (["cells.tif", "--workers", "2", "--scheduler", "tcp://x:1", "--plan"], "exclude each"),
        (["cells.tif", *BLIND_LUCY, "--memory", "1MB"], "allow more memory (--memory "),
    ],
)  # fmt: skip
def test_wrong_input_is_said_in_one_sentence(tmp_path, volume, path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tif").write_text("this is no image")
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr/a.txt").write_text("mine")
    tifffile.imwrite(tmp_path / "foreign.tif", volume)
    zarr.create_array(tmp_path / "plain.zarr", data=volume)
    np.save(tmp_path / "zero.npy", np.zeros((5, 5)))
    np.save(tmp_path / "five.npy", np.ones((2, 3, 1, 5, 5)))
    before = sorted(tmp_path.iterdir())
    if "five.npy" in arguments or "zero.npy" in arguments:
        arguments = [*arguments, *LUCY]
    assert said in refused("run", *arguments)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["o.jpg"],
        ["https://host/o.zarr"],
        ["o.zarr", "--workers", "2", "--scheduler", "tcp://x:1"],
        ["text.zarr", "--overwrite"],
        ["text.tif", "--overwrite"],
        ["text.tif/o.zarr"],
    ],
)
def test_what_cannot_be_written_is_refused_before_planning(tmp_path, path, monkeypatch, arguments):
    from napari_deblur import planning

    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tif").write_text("mine")
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr/a.txt").write_text("mine")
    monkeypatch.setattr(planning, "planning", lambda *args, **kwargs: pytest.fail("planned"))
    refused("run", path, *arguments)
    how = {"overwrite": True} if "--overwrite" in arguments else {}
    if "--workers" not in arguments:
        with pytest.raises((ValueError, OSError)):
            Job(path, arguments[0]).run(**how)


def test_a_kernel_with_nan_is_cleaned_and_it_is_said(tmp_path, path):
    array = np.ones((5, 5))
    array[0, 0] = np.nan
    np.save(tmp_path / "nan.npy", array)
    said = call("run", path, tmp_path / "o.zarr", *LUCY, "--kernel", tmp_path / "nan.npy")
    assert "the kernel was cleaned: 1 values that were NaN or infinite were set to 0" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tile", "32,128,128,4"], '"32,128,128,4" is not z,y,x or y,x'),
        (["--tile", "0,128,128"], '"0,128,128" is not z,y,x or y,x'),
        (["--shape", "3.5,4"], '"3.5,4" is not z,y,x or y,x'),
        (["--pixel-size", "a,b,c"], '"a,b,c" is not z,y,x or y,x'),
        (["--memory", "lots"], 'memory "lots" is no size'),
        (["--set", "iterations"], '"iterations" is not name=value'),
        (["--kernel", "a.tif", "--kernel", "b.tif"], "write CHANNEL=FILE for each"),
        (["--workers", "-1"], "Invalid value for '--workers'"),
        (["--fail-fast", "--max-failed", "2"], "leave one of them out"),
        (["--part", "1/2", "--no-resume"], "parts go on with what others began: leave it out"),
        (["--part", "0/3"], "there is no part 0/3: parts of 3 are counted from 1"),
        (["--part", "4/3"], "there is no part 4/3: parts of 3 are counted from 1"),
        (["--series", "first"], "Invalid value for '--series'"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_has_status_2(path, arguments, said):
    done = CliRunner().invoke(cli.app, ["run", path, *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_nothing_to_do_is_wrong_usage():
    assert "a stack, a job.toml, or --replay STORE" in call("run", status=2).replace("│ │ ", "")


def test_debug_shows_where_an_error_comes_from(tmp_path):
    process = program("run", tmp_path / "gone.tif", "--debug")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("Traceback")
    assert "opening.py" in said
    process = program("run", tmp_path / "gone.tif")
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert said == f'error: there is no file or folder "{tmp_path / "gone.tif"}"\n'


def test_failed_tiles_have_status_3_and_fail_fast_stops(tmp_path, path, kernel, monkeypatch):
    from napari_deblur import tasks

    restore = tasks.restore_tile

    def broken(plan, stack, index, **options):
        if index[3] == 1:
            raise ValueError("this place is broken")
        return restore(plan, stack, index, **options)

    monkeypatch.setattr(tasks, "restore_tile", broken)
    options = (*LUCY, "--kernel", kernel, "--tile", "8,24,48", "--accept-seam")
    said = call("run", path, tmp_path / "o.zarr", *options, status=3)
    assert "1 failed" in said
    assert "incomplete in" in said
    assert not open_result(tmp_path / "o.zarr").complete
    said = call("verify", tmp_path / "o.zarr", status=3)
    assert "not complete" in said
    assert "1 failed, the first at (0, 0, 0, 1, 0) (ValueError: this place is broken)" in said
    assert "this place is broken" in refused(
        "run", path, tmp_path / "p.zarr", *options, "--fail-fast"
    )
    assert "more than 0 tiles failed" in refused(
        "run", path, tmp_path / "q.zarr", *options, "--max-failed", "0"
    )
    monkeypatch.setattr(tasks, "restore_tile", restore)
    call("run", path, tmp_path / "o.zarr", *options)
    assert open_result(tmp_path / "o.zarr").complete


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_stops_and_the_same_command_goes_on(tmp_path, kernel):
    rng = np.random.default_rng(2)
    image = rng.poisson(100, (200, 256, 256)).astype("u2")
    tifffile.imwrite(tmp_path / "long.tif", image, metadata={"axes": "TYX"})
    arguments = ("run", tmp_path / "long.tif", tmp_path / "o.zarr", "--kernel", kernel)
    arguments += ("--method", "richardson-lucy", "--set", "iterations=100")
    process = program(*arguments)
    while "tiles" not in (line := process.stderr.readline()):
        assert line
    while not (tmp_path / "o.zarr" / "zarr.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "error: stopped; run the same command again to go on"
    done = open_result(tmp_path / "o.zarr")
    assert not done.complete
    assert "not complete" in call("verify", tmp_path / "o.zarr", status=3)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions work otherwise there")
def test_a_folder_without_permission_stops_with_status_1(tmp_path, path, kernel):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "shut").mkdir(mode=0o500)
    said = refused("run", path, tmp_path / "shut" / "o.zarr", *LUCY, "--kernel", kernel)
    assert "cannot be made" in said


def test_two_processes_give_the_same(tmp_path, path, kernel):
    options = (*LUCY, "--kernel", kernel, "--tile", "8,24,48", "--accept-seam")
    call("run", path, tmp_path / "one.zarr", *options)
    process = program("run", path, tmp_path / "two.zarr", *options, "--workers", "2")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    one, two = (open_result(tmp_path / f"{name}.zarr") for name in ("one", "two"))
    assert one.levels[0][:].tobytes() == two.levels[0][:].tobytes()


def test_output_into_a_file_has_few_lines(tmp_path, volume, kernel):
    tifffile.imwrite(tmp_path / "t.tif", np.repeat(volume, 4, axis=0), metadata={"axes": "TYX"})
    done = CliRunner().invoke(
        cli.app,
        ["run", str(tmp_path / "t.tif"), str(tmp_path / "o.zarr"), *LUCY, "--kernel", kernel],
    )
    assert done.exit_code == 0
    assert len(done.stderr.splitlines()) < 40


# estimate, verify ---------------------------------------------------------------------------------


def test_estimate_writes_one_kernel_for_each_channel(tmp_path, volume):
    path = tmp_path / "two.tif"
    tifffile.imwrite(path, volume[:2], metadata={"axes": "CYX"}, photometric="minisblack")
    options = ("--shape", "5,7", *BLIND_LUCY)
    said = call("estimate", path, tmp_path / "k.tif", *options)
    assert "kernel t 0, c 1 1 × 5 × 7 voxels" in said
    assert "px (y, x)" in said
    assert "found in channel 1 0:1" in said
    for c in range(2):
        assert load_kernel(tmp_path / f"k_c{c}.tif").shape == (1, 5, 7)
    assert "k_c0.tif exists" in refused("estimate", path, tmp_path / "k.tif", *options)
    call("estimate", path, tmp_path / "k.npz", *options, "--channels", "1")
    assert load_kernel(tmp_path / "k.npz").shape == (1, 5, 7)
    assert "saved as .tif, .npz or .zarr" in refused("estimate", path, tmp_path / "k.png", *options)
    said = refused("estimate", path, tmp_path / "l.tif", "--method", "wiener")
    assert "wiener restores with a kernel but finds none" in said


def test_verify_finds_what_was_changed(tmp_path, path, kernel):
    store = tmp_path / "o.zarr"
    call("run", path, store, *LUCY, "--kernel", kernel)
    assert call("verify", store).endswith(f"{store} is sound and complete")
    chunk = next(p for p in (store / "0").rglob("*") if p.is_file() and p.name != "zarr.json")
    raw = bytearray(chunk.read_bytes())
    raw[len(raw) // 2] ^= 4
    chunk.write_bytes(raw)
    assert "changed: 0/c/" in call("verify", store, status=1)
    assert "1 damaged chunks were deleted" in call("verify", store, "--discard", status=1)
    call("run", path, store, *LUCY, "--kernel", kernel)
    call("verify", store)
    assert json.loads((store / "zarr.json").read_text())["attributes"]["napari_deblur"]["complete"]
    assert "no result at" in refused("verify", tmp_path / "gone.zarr")
    assert "cells.tif is no result of napari-deblur" in refused("verify", path)


def test_whoever_stops_listening_does_not_change_the_status(tmp_path, path, kernel):
    store = tmp_path / "o.zarr"
    call("run", path, store, *LUCY, "--kernel", kernel)
    for chunk in (p for p in (store / "0").rglob("*") if p.is_file() and p.name != "zarr.json"):
        chunk.write_bytes(b"damaged")
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "napari_deblur", "verify", str(store)],
        stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )  # fmt: skip
    os.close(writing)
    assert (process.returncode, "Traceback" in process.stderr) == (1, False)


@pytest.mark.skipif(os.name == "nt", reason="it ends processes there")
def test_a_batch_system_may_end_a_search_too(tmp_path, path, monkeypatch):
    from napari_deblur import planning

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # else this process ends
    monkeypatch.setattr(planning, "planning", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    said = refused("run", path, tmp_path / "o.zarr", "--part", "1/2")
    signal.signal(signal.SIGTERM, before)
    assert said == "stopped; run the same command again to go on"
    assert not (tmp_path / "o.zarr").exists()


@pytest.mark.skipif(os.name == "nt", reason="there is no shell that closes them")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_what_is_said_may_go_nowhere(tmp_path, path, closed):
    words = [sys.executable, "-m", "napari_deblur", "run", path, str(tmp_path / "o.zarr")]
    env = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    line = f"{shlex.join([*words, '--method', 'identity'])} {closed}"
    assert subprocess.run(["sh", "-c", line], env=env, timeout=60, check=False).returncode == 0
    assert open_result(tmp_path / "o.zarr").complete


@pytest.mark.parametrize("method", [["--method", "identity"], LUCY])
def test_a_picture_with_alpha_is_complete_and_sound(tmp_path, kernel, method):
    from PIL import Image

    array = np.random.default_rng(0).integers(0, 255, (40, 48, 4)).astype("u1")
    Image.fromarray(array, "RGBA").save(tmp_path / "a.png")
    out = tmp_path / "o.zarr"
    call("run", tmp_path / "a.png", out, *method, "--kernel", kernel)
    assert open_result(out).complete
    assert call("verify", out).endswith("is sound and complete")
