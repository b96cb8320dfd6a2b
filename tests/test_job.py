import dataclasses
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import typer
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur import cli, options, outputs, per_channel, words
from napari_deblur.job import Job
from napari_deblur.kernels import save_kernel
from napari_deblur.methods.blind_richardson_lucy import BlindRichardsonLucy
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian

names = st.text("abcdefgh µ=.-_1é", min_size=1, max_size=8).map(lambda s: f"/data/{s}x")
triples = st.lists(st.integers(1, 4096), min_size=2, max_size=3).map(tuple)
sizes = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=3).map(tuple)
channels = st.one_of(st.integers(0, 9), st.sampled_from(["DAPI", "a b", "GFP"]))
jobs = st.builds(
    Job,
    input=names,
    output=st.none() | names,
    method=st.sampled_from(["richardson-lucy", "wiener", "blind-richardson-lucy"]),
    scope=st.sampled_from(["channel", "channel-time", "tile"]),
    kernel=st.none()
    | names.filter(lambda s: "=" not in s)
    | st.dictionaries(st.sampled_from(["0", "DAPI"]), names, min_size=1),
    kernel_pixel_size=st.none() | sizes,
    shape=st.none() | triples,
    axes=st.none() | st.sampled_from(["zyx", "tyx"]),
    pixel_size=st.none() | sizes,
    channels=st.none() | st.lists(channels, min_size=1, max_size=3).map(tuple),
    times=st.none() | st.sampled_from(["0,2", "0:10", "3"]),
    region=st.none() | st.sampled_from(["0:3,:,4:", ":9,1:2"]),
    level=st.integers(0, 4),
    series=st.none() | st.integers(0, 3),
    field=st.none() | st.just("A/1/0"),
    tile=st.none() | triples,
    seam=st.floats(1e-6, 0.5),
    accept_seam=st.booleans(),
    memory=st.none() | st.sampled_from(["4GB", "512MiB"]),
    device=st.sampled_from(["auto", "cpu"]),
    dtype=st.none() | st.just("uint16"),
    gamma=st.sampled_from(["linear", "srgb"]),
    keep_background=st.booleans(),
)


@pytest.fixture
def volume():
    rng = np.random.default_rng(5)
    return rng.poisson(40 + 30 * rng.random((6, 30, 32))).astype("u2")


@pytest.fixture
def path(tmp_path, volume):
    tifffile.imwrite(tmp_path / "cells.tif", volume, metadata={"axes": "ZYX"})
    return tmp_path / "cells.tif"


@pytest.fixture
def kernel(tmp_path):
    made = Gaussian(sigma=(0.0, 1.0, 1.0))((1, 7, 7), (1.0, 1.0, 1.0))
    save_kernel(Kernel(made.at()), tmp_path / "kernel.tif")
    return tmp_path / "kernel.tif"


@given(jobs)
def test_a_job_survives_plain_data(job):
    assert Job.from_dict(job.to_dict()) == job


@given(jobs)
def test_a_job_survives_toml(job):
    import tomllib

    import tomli_w

    assert Job.from_dict(tomllib.loads(tomli_w.dumps(job.to_dict()))) == job


@given(jobs)
def test_the_command_line_of_a_job_asks_for_the_same(job):
    program, command, *arguments = shlex.split(job.command())
    assert (program, command) == ("napari-deblur", "run")
    group = typer.main.get_command(cli.app)
    context = group.commands["run"].make_context("run", arguments)
    assert options.job_of(context.params) == job


def test_parameters_survive_the_command_line_with_their_types():
    job = Job("/a.tif", method="richardson-lucy", parameters={"iterations": 12, "background": 3.5})
    arguments = shlex.split(job.command())[2:]
    context = typer.main.get_command(cli.app).commands["run"].make_context("run", arguments)
    assert options.job_of(context.params) == job
    assert job.restorer() == RichardsonLucy(iterations=12, background=3.5)


def test_only_what_was_asked_for_is_written():
    assert Job("a.tif", tile=(1, 8, 8)).to_dict() == {
        "input": "a.tif",
        "method": "blind",
        "tile": [1, 8, 8],
    }


def test_a_saved_job_is_found_from_anywhere(tmp_path, path, kernel, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job("cells.tif", kernel={"0": "kernel.tif"}, method="wiener")
    job.save("job.toml")
    monkeypatch.chdir("/")
    loaded = Job.load(tmp_path / "job.toml")
    assert loaded.input == str(path)
    assert loaded.kernel == {"0": str(kernel)}
    assert loaded == dataclasses.replace(job, input=str(path), kernel={"0": str(kernel)})


def test_paths_in_a_job_file_are_relative_to_it(tmp_path, path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "job.toml"
    file.write_text('input = "../cells.tif"\noutput = "out.zarr"\n')
    job = Job.load(file)
    assert job.input == str(path)
    assert job.output == str(tmp_path / "sub" / "out.zarr")
    file.write_text('input = "s3://bucket/cells.zarr"\n')
    assert Job.load(file).input == "s3://bucket/cells.zarr"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('input = "a"\ntiles = [1, 2]', r'"job.toml" has the key "tiles", .* there are: input, '),
        (
            'input = "a"\ntile = "12"',
            r'tile is \'12\' in "job.toml": it must be a list, such as tile = \[32, 128, 128\]',
        ),
        ('input = "a"\ntile = [1, 2, 3, 4]', r"tile is \(1, 2, 3, 4\): give z, y, x or y, x"),
        ('input = "a"\ntile = [1.5, 2]', r"tile is \[1.5, 2\] .* valid integer"),
        ('input = "a"\nmemory = "much"', r'memory "much" is no size: write 4GB'),
        ('input = "a"\nseam = "x"', r"seam is 'x' .* valid number"),
        ('method = "wiener"', r'"job.toml" lacks "input"'),
        ("input = ", r'job.toml" is no TOML file'),
    ],
)
def test_a_wrong_job_file_is_refused_in_one_sentence(tmp_path, text, said):
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        Job.load(tmp_path / "job.toml")
    assert "\n" not in str(caught.value)


def test_a_missing_job_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no job"):
        Job.load(tmp_path / "job.toml")


def test_frames_channels_and_region_are_selected(tmp_path):
    data = np.arange(4 * 3 * 20 * 24, dtype="u2").reshape(4, 3, 20, 24)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "TCYX"}, photometric="minisblack")
    job = Job(str(tmp_path / "a.tif"), times="0,2:4", channels=(2, "0"), region="5:,:24")
    stack = job.open()
    assert stack.shape == (3, 2, 1, 15, 24)
    np.testing.assert_array_equal(stack.read(1, 0)[0], data[2, 2, 5:])
    with pytest.raises(ValueError, match='there is no channel "DAPI": the stack has 3'):
        Job(str(tmp_path / "a.tif"), channels=("DAPI",)).open()
    with pytest.raises(ValueError, match=r"time 4 is outside the stack, which has 4"):
        Job(str(tmp_path / "a.tif"), times="4").open()
    with pytest.raises(ValueError, match=r"region along x 0:25 does not lie inside 0:24"):
        Job(str(tmp_path / "a.tif"), region="0:5,0:25").open()


def test_kernels_belong_to_the_channels_of_the_file(tmp_path, kernel):
    data = np.ones((3, 20, 24), "u2")
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "CYX"}, photometric="minisblack")
    job = Job(str(tmp_path / "a.tif"), channels=(2, 1), kernel={"1": str(kernel), "2": str(kernel)})
    assert sorted(per_channel.kernels_of(job, job.open())) == [0, 1]
    job = Job(str(tmp_path / "a.tif"), kernel={"GFP": str(kernel)})
    with pytest.raises(ValueError, match=r'no channel "GFP" for the kernel .*; there are: 0, 1, 2'):
        per_channel.kernels_of(job, job.open())


def test_a_flat_tile_of_a_volume_is_refused(path, kernel):
    job = Job(str(path), method="wiener", kernel=str(kernel), tile=(16, 16))
    with pytest.raises(ValueError, match=r'tile \(16, 16\) has 2 values .* "zyx": give z, y, x'):
        job.plan()


def test_a_run_keeps_the_job_and_the_plan_is_taken_up_again(tmp_path, path, kernel):
    job = Job(
        str(path),
        str(tmp_path / "out.deblur.zarr"),
        method="richardson-lucy",
        parameters={"iterations": 3},
        kernel=str(kernel),
        tile=(6, 30, 16),
        accept_seam=True,
    )
    list(job.run())
    from napari_deblur.results import open_result

    result = open_result(job.output_path)
    assert Job.from_dict(result.job) == job
    # With less memory the plan would be another one; it isn't asked for again.
    assert next(job.planning()).startswith("taking the plan")
    assert job.plan().key == result.key
    assert list(job.run())[-1].note == "it was complete already"


def test_another_kernel_in_the_same_file_is_noticed(tmp_path, path, kernel):
    job = Job(
        str(path),
        str(tmp_path / "out.deblur.zarr"),
        method="richardson-lucy",
        parameters={"iterations": 2},
        kernel=str(kernel),
    )
    list(job.run())
    save_kernel(Kernel(np.ones((1, 3, 3))), kernel)
    assert not next(job.planning()).startswith("taking the plan")
    with pytest.raises(FileExistsError, match="another plan"):
        list(job.run())


@pytest.mark.parametrize("output", ["cells.zarr", "cells.zarr/out.deblur.zarr", "."])
def test_the_input_is_never_the_output(tmp_path, volume, output):
    import zarr

    zarr.create_array(
        tmp_path / "cells.zarr", data=volume, dimension_names=["z", "y", "x"], zarr_format=3
    )
    job = Job(str(tmp_path / "cells.zarr"), str(tmp_path / output))
    with pytest.raises(ValueError, match="are one: choose another output"):
        job.plan()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a/cells.tif", "a/cells.deblur.zarr"),
        ("a/cells.ome.zarr/", "a/cells.deblur.zarr"),
        ("a/cells.ome.tif", "a/cells.deblur.zarr"),
        ("a/plate.zarr/A/1/0", "a/0.deblur.zarr"),
        ("a/v1.2.tif", "a/v1.2.deblur.zarr"),
        ("a/cells.deblur.zarr", "a/cells.deblur.deblur.zarr"),
    ],
)
def test_the_suggested_output_lies_beside_the_input(tmp_path, address, name):
    (tmp_path / "a/plate.zarr/A/1").mkdir(parents=True)
    assert outputs.suggested_output(str(tmp_path / address)) == tmp_path / name


def test_the_suggested_output_of_a_url_lies_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert outputs.suggested_output("s3://b/c/d.ome.zarr") == tmp_path / "d.deblur.zarr"


@pytest.mark.parametrize(
    ("text", "count"),
    [("4GB", 4 * 10**9), ("512MiB", 512 * 2**20), ("1.5g", 15 * 10**8), (7000000, 7000000)],
)
def test_memory_is_read(text, count):
    assert words.bytes_of(text) == count


def test_parameters_have_the_types_of_the_method():
    given_ = {"iterations": "12", "background": "auto", "lowest": "-3"}
    assert words.typed(BlindRichardsonLucy, given_) == {
        "iterations": 12,
        "background": "auto",
        "lowest": -3.0,
    }
    assert words.typed(Gaussian, {"sigma": "1,2,3"}) == {"sigma": (1.0, 2.0, 3.0)}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"iteration": "3"}, r'no parameter "iteration"; there are: iterations \(auto\)'),
        ({"iterations": "many"}, r'richardson-lucy is "many" and must be int or "auto"$'),
        ({"background": "dark"}, r'is "dark" and must be float or "auto"$'),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(texts, said):
    with pytest.raises(ValueError, match=said):
        words.typed(RichardsonLucy, texts)


def test_a_method_made_from_a_file_is_strict():
    assert words.made(RichardsonLucy, {"iterations": 5, "background": 2}).background == 2.0
    with pytest.raises(ValueError, match=r"iterations of richardson-lucy is 5\.5 and must be int"):
        words.made(RichardsonLucy, {"iterations": 5.5})


def test_importing_a_job_imports_nothing_heavy():
    code = (
        "import sys, napari_deblur.job\n"
        "print(sorted({'torch', 'dask', 'zarr', 'scipy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_job_finds_the_kernels_of_its_scope(tmp_path):
    data = np.random.default_rng(0).poisson(50, (2, 40, 44)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "TYX"}, photometric="minisblack")
    job = Job(
        str(tmp_path / "a.tif"),
        method="blind-richardson-lucy",
        parameters={"iterations": 2},
        scope="channel-time",
        shape=(5, 5),
    )
    assert job.estimate().array.shape == (2, 1, 1, 5, 5)
    with pytest.raises(ValueError, match="a blur that varies is no single kernel"):
        dataclasses.replace(job, scope="field").estimate()
