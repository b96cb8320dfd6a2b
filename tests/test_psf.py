"""Kernels of optical models and wishes of single channels: in Python, jobs, on the command line."""

import json
import re

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import napari_deblur as nd
from napari_deblur.cli import app
from napari_deblur.describing import said_of
from napari_deblur.job import ChannelTable, Job
from napari_deblur.kernels import save_kernel
from napari_deblur.modelled import model_of
from napari_deblur.options import job_of
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import open_result
from napari_deblur.stack import Channel, Optics, Pixels, Stack

SIZE = (0.5, 0.1, 0.1)
FEW = nd.methods["richardson-lucy"](iterations=2)
QUICK = nd.methods["blind-richardson-lucy"](iterations=2, rounds=2, steps=2)
SIGMA = {"sigma": (0.4, 0.12, 0.12)}


def two_channels(**changed):
    random = np.random.default_rng(0)
    array = random.poisson(40 + 60 * random.random((2, 6, 40, 44))).astype(np.uint16)
    given = {
        "pixel_size": SIZE,
        "channels": (Channel("DAPI", emission=0.46), Channel("Cy5", emission=0.67)),
        "optics": Optics(na=1.2, n_immersion=1.33),
    }
    return Stack(Pixels(array, "czyx"), "czyx", **{**given, **changed})


def plane(**changed):
    random = np.random.default_rng(0)
    array = random.poisson(40 + 60 * random.random((40, 44))).astype(np.uint16)
    return Stack(Pixels(array, "yx"), "yx", **{"pixel_size": SIZE, **changed})


@pytest.fixture
def file(tmp_path):
    array = two_channels().pixels.base
    sizes = {f"PhysicalSize{axis.upper()}": s for axis, s in zip("zyx", SIZE, strict=True)}
    names = {"Channel": {"Name": ["DAPI", "Cy5"]}}
    tifffile.imwrite(
        tmp_path / "cells.ome.tif",
        array,
        metadata={"axes": "CZYX", **sizes, **names},
        photometric="minisblack",
    )
    return tmp_path / "cells.ome.tif"


@pytest.fixture
def kernel(tmp_path):
    save_kernel(Gaussian((0.4, 0.1, 0.1))((3, 5, 5), SIZE), tmp_path / "k.tif")
    return tmp_path / "k.tif"


# In Python ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "psf", [Gaussian(**SIGMA), ("gaussian", SIGMA)], ids=["object", "name and parameters"]
)
def test_a_psf_makes_the_kernel_of_every_channel(psf):
    plan = nd.plan(two_channels(), FEW, psf=psf)
    wide = Gaussian(**SIGMA).default_shape(SIZE)
    assert plan.kernel.array.shape == (1, 1, *wide)
    assert wide == (9, 11, 11)
    assert plan.kernel.report["psf"] == "gaussian"
    assert nd.plan(two_channels(), FEW, psf=psf, shape=(3, 7, 7)).kernel.shape == (3, 7, 7)


def test_a_psf_of_which_only_the_name_is_given_is_matched_to_the_optics_of_each_channel():
    plan = nd.plan(two_channels(), FEW, psf="gaussian")
    reports = plan.kernel.report["channels"]
    for report, wavelength in zip(reports, (0.46, 0.67), strict=True):
        wanted = Gaussian.from_optics(1.2, wavelength, 1.33).sigma
        assert report["sigma"] == pytest.approx(wanted)
    given = nd.plan(two_channels(), FEW, psf="gaussian", facts=Facts(wavelength=0.5, na=0.8))
    assert given.kernel.report["sigma"] == pytest.approx(Gaussian.from_optics(0.8, 0.5, 1.33).sigma)


def test_an_image_of_one_plane_has_a_kernel_of_one_plane():
    assert nd.plan(plane(), FEW, psf=Gaussian(**SIGMA)).kernel.shape == (1, 11, 11)


def test_a_model_takes_the_optics_it_has_parameters_for():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Model:
        na: float
        depth: float = 0.0

    assert model_of((Model, {"depth": 2.0}), Facts(na=1.2)) == Model(1.2, 2.0)
    assert model_of((Model, {"na": 0.5}), Facts(na=1.2)) == Model(0.5)
    with pytest.raises(ValueError, match="the psf Model needs na: give --na"):
        model_of(Model, Facts())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"psf": "airy"}, 'no psf "airy"; there are: '),
        ({"psf": 5}, "int is no psf: pass a name or an object of nd.psfs"),
        ({"psf": "gaussian", "facts": Facts(na=1.2)}, "the psf gaussian needs wavelength, or its"),
        ({"psf": "gaussian"}, "needs na and wavelength, or its own parameters .*--psf-set"),
        ({"psf": Gaussian(), "kernel": np.ones((3, 3))}, "a kernel and a psf.*leave one"),
        ({"psf": {3: Gaussian()}}, "psf is given for channel 3; there are: 0"),
        ({"facts": Facts(wavelength=520)}, "wavelength is 520 µm: give it in µm, such as 0.52"),
        ({"facts": Facts(na=1.4, n_immersion=1.33)}, "na is 1.4 and n_immersion 1.33: it must"),
        ({"facts": Facts(n_sample=13.3)}, "n_sample is 13.3: a refractive index"),
        ({"psf": Gaussian(), "shape": (3, 5, 5)}, "3 planes but the image has one"),
    ],
)
def test_what_a_psf_lacks_is_said(asked, said):
    with pytest.raises((ValueError, KeyError, TypeError), match=said):
        nd.plan(plane(), FEW, **asked)


def test_a_psf_needs_the_voxel_size():
    with pytest.raises(ValueError, match=r"along y, x is not known: give --pixel-size z,y,x"):
        nd.plan(plane(pixel_size=None), FEW, psf=Gaussian())
    with pytest.raises(ValueError, match=r"along z is not known"):
        nd.plan(two_channels(pixel_size=(None, 0.1, 0.1)), FEW, psf=Gaussian())


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"psf": Gaussian(**SIGMA)}, "accelerated-richardson-lucy"),
        ({"kernel": np.ones((3, 3))}, "accelerated-richardson-lucy"),
        # A kernel is looked for, and the pixels are noise: nothing to deblur.
        ({"shape": (1, 5, 5)}, "identity"),
    ],
)
def test_the_method_follows_from_whether_there_is_a_kernel(asked, name):
    plan = nd.plan(plane(), **asked)
    assert nd.methods.name_of(plan.channels[0].method) == name
    assert ("method" in plan.kernel.report) == ("shape" in asked)
    assert nd.plan(plane(), "auto", **asked).key == plan.key


def test_each_channel_may_have_its_own_method_kernel_and_camera():
    plan = nd.plan(
        two_channels(),
        {"DAPI": nd.methods["wiener"](), 1: FEW},
        kernel={0: np.ones((3, 3, 3))},
        psf={"Cy5": Gaussian(**SIGMA)},
        facts={0: Facts(gain=2.0, offset=0.0, read_noise=0.0), "Cy5": Facts(background=7.0)},
    )
    first, second = plan.channels
    names = [nd.methods.name_of(channel.method) for channel in plan.channels]
    assert names == ["wiener", "richardson-lucy"]
    assert (first.facts.gain, second.facts.background) == (2.0, 7.0)
    assert second.method.background == 7.0
    assert plan.kernel.at(0, 0)[3:6, 4:7, 4:7] == pytest.approx(1 / 27)
    text = plan.summary()
    assert re.search("method, channel 0 +wiener", text)
    assert re.search("method, channel 1 +richardson-lucy, iterations 2", text)


def test_a_kernel_is_found_for_one_channel_and_given_for_the_other():
    plan = nd.plan(two_channels(), {0: QUICK, 1: FEW}, psf={1: Gaussian(**SIGMA)})
    found, given = plan.kernel.report["channels"]
    assert found["method"] == "blind-richardson-lucy"
    assert given["psf"] == "gaussian"
    by_itself = nd.plan(two_channels(), kernel={1: np.ones((3, 3, 3))}, shape=(3, 5, 5))
    names = [nd.methods.name_of(channel.method) for channel in by_itself.channels]
    assert names == ["identity", "accelerated-richardson-lucy"]  # noise is left as it is
    with pytest.raises(ValueError, match="can't find a kernel in each tile"):
        nd.plan(two_channels(), {0: QUICK, 1: FEW}, psf={1: Gaussian(**SIGMA)}, scope="tile")


def test_voxels_that_are_too_coarse_for_the_optics_are_told():
    coarse = nd.plan(two_channels(pixel_size=(2.0, 0.3, 0.3)), FEW, psf="gibson-lanni")
    assert [note.partition(" of ")[0] for note in coarse.notes if "too coarse" in note] == [
        "channel 0: pixels",
        "channel 1: pixels",
    ]
    assert "channel 1: planes 2 µm apart are" in coarse.summary()
    assert "times too coarse for NA 1.2 at 0.46 µm" in coarse.summary()
    fine = nd.plan(two_channels(pixel_size=(0.2, 0.08, 0.08)), FEW, psf="gibson-lanni")
    assert not [note for note in fine.notes if "µm" in note]
    # One plane has no distance of planes; pixels that a scanning microscope wants aren't too fine.
    known = Facts(na=0.8, wavelength=0.5, n_immersion=1.33)
    for psf, size, told in (
        ("gaussian", 0.3, ["pixels of 0.3 µm are 1.9 times too coarse"]),
        ("gaussian", 0.03, []),
        ("pupil", 0.03, ["pixels of 0.03 µm are 5.2 times finer"]),
    ):
        plan = nd.plan(plane(pixel_size=(9.0, size, size)), FEW, psf=psf, facts=known)
        found = [n.partition(" for")[0].partition(" than")[0] for n in plan.notes if " µm are" in n]
        assert found == told


def test_what_was_decided_and_for_which_noise_is_said():
    plan = nd.plan(plane(), psf=Gaussian(**SIGMA), facts=Facts(gain=2.0, offset=10.0))
    method = plan.channels[0].method
    assert "iterations" in plan.channels[0].decided
    (note,) = [note for note in plan.notes if "decided on samples" in note]
    assert note.startswith(f"iterations {method.iterations}: ")
    assert note.endswith("for photon noise, 2 counts per photon (given)")
    assert f"iterations {method.iterations} (auto)" in plan.summary()
    assert max(map(len, plan.summary().splitlines())) < 260
    flat = nd.plan(plane(), nd.methods["wiener"](), psf=Gaussian(**SIGMA))
    assert any("decided on samples, for normal noise of" in n for n in flat.notes) == (
        flat.channels[0].facts.gain is None
    )
    given = nd.plan(plane(), FEW, psf=Gaussian(**SIGMA))
    assert not any("decided" in note for note in given.notes)
    assert "(auto)" not in given.summary()
    again = nd.Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.channels == plan.channels
    old = plan.to_dict()
    del old["channels"][0]["decided"]  # as stores of earlier versions are
    assert nd.Plan.from_dict(old).key == plan.key


@pytest.mark.parametrize("name", ["accelerated-richardson-lucy", "richardson-lucy"])
def test_iterations_that_end_at_the_most_are_told(name):
    cls = nd.methods[name]
    most = cls(iterations=cls.most)
    _, more = said_of(most, ("iterations",), Facts(gain=2.0), None)
    assert more.startswith(f"{cls.most} iterations are the most that are done")
    assert len(said_of(cls(iterations=cls.most - 1), ("iterations",), Facts(gain=2.0), None)) == 1
    assert said_of(most, (), Facts(gain=2.0), None) == []


# In jobs -----------------------------------------------------------------------------------------


TABLES = """
input = "cells.ome.tif"
shape = [3, 5, 5]
gain = 2.0

[[channel]]
name = "DAPI"
method = "wiener"
psf = "gaussian"
wavelength = 0.46
na = 1.2

[[channel]]
index = 1
method = "richardson-lucy"
parameters = { iterations = 2 }
kernel = "k.tif"
gain = 3.0
background = 5.0
"""


def test_tables_of_a_job_speak_of_single_channels(tmp_path, file, kernel):
    (tmp_path / "job.toml").write_text(TABLES)
    job = Job.load(tmp_path / "job.toml")
    plan = job.plan()
    first, second = plan.channels
    assert nd.methods.name_of(first.method) == "wiener"
    assert (first.facts.gain, second.facts.gain, second.facts.background) == (2.0, 3.0, 5.0)
    reports = plan.kernel.report["channels"]
    assert reports[0]["sigma"] == pytest.approx(Gaussian.from_optics(1.2, 0.46).sigma)
    assert reports[1]["file"] == "k.tif"
    # As data, in a file, and as what is kept with the result.
    assert Job.from_dict(job.to_dict()) == job
    job.save(tmp_path / "again.toml")
    assert Job.load(tmp_path / "again.toml") == job
    with pytest.raises(ValueError, match="save the job and run its file"):
        job.command()
    for _ in job.run(plan):
        pass
    assert open_result(job.output_path).complete
    said = next(job.planning())
    assert "taking the plan from" in said
    save_kernel(Kernel(np.ones((3, 5, 5)), SIZE), kernel)
    assert "looking at" in next(job.planning())


def test_tables_of_channels_that_were_not_picked_are_left_alone(tmp_path, file, kernel):
    (tmp_path / "job.toml").write_text('channels = ["Cy5"]' + TABLES)
    plan = Job.load(tmp_path / "job.toml").plan()
    assert len(plan.channels) == 1
    assert nd.methods.name_of(plan.channels[0].method) == "richardson-lucy"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("psf = 'gaussian'", "a table for a channel says which one, by index or by name"),
        ("index = 0\nwave = 1", r"\[\[channel\]\] 1 of \"job.toml\" has the key \"wave\""),
        ("index = 0\npsf = 'gaussian'\nkernel = 'k.tif'", "channel 0 has a psf and a kernel"),
        ("index = 0\npsf_parameters = { sigma = 1 }", "parameters of a psf .* but no psf"),
        ("index = 0\ngain = -1.0", "gain is -1"),
        ("index = 'a'", r"index is 'a' in \[\[channel\]\] 1 of"),
    ],
)
def test_a_wrong_table_is_said(tmp_path, table, said):
    (tmp_path / "job.toml").write_text(f'input = "cells.ome.tif"\n[[channel]]\n{table}\n')
    with pytest.raises(ValueError, match=said):
        Job.load(tmp_path / "job.toml")


def test_a_table_of_no_channel_or_a_second_one_is_refused(file):
    for tables, said in (
        ((ChannelTable(name="GFP"),), 'no channel "GFP" for the table; there are: 0, 1, DAPI, Cy5'),
        ((ChannelTable(name="Cy5"), ChannelTable(index=1)), 'channel "1" has two tables'),
    ):
        with pytest.raises(ValueError, match=said):
            Job(str(file), channel=tables).plan()


# On the command line -----------------------------------------------------------------------------


def called(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_psf_on_the_command_line(file, tmp_path):
    out = tmp_path / "o.zarr"
    result = called(
        "run", file, out, "--psf", "gaussian", "--psf-set", "sigma=0.4,0.12,0.12",
        "--shape", "3,5,5", "--method", "richardson-lucy", "--set", "iterations=2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    plan = open_result(out).plan
    assert plan.kernel.report["sigma"] == [0.4, 0.12, 0.12]
    assert plan.kernel.shape == (3, 5, 5)


def test_optics_on_the_command_line(file):
    arguments = ("run", file, "--psf", "gaussian", "--plan", "--shape", "3,5,5")
    result = called(*arguments, "--na", 1.2, "--wavelength", 0.5, "--n-immersion", 1.33)
    assert result.exit_code == 0, result.output
    assert "accelerated-richardson-lucy, iterations" in result.output
    result = called(*arguments, "--na", 1.2)
    assert result.exit_code == 1
    assert "the psf gaussian needs wavelength" in result.output
    result = called("run", file, "--psf-set", "sigma=1,1,1")
    assert result.exit_code == 2
    assert "name the psf too" in result.output
    result = called("run", file, "--psf", "gaussian", "--psf-set", "sigmas=1,1,1")
    assert 'gaussian has no parameter "sigmas"; there are: sigma' in result.output


def test_a_job_with_a_psf_survives_its_command_line(file):
    job = Job(str(file), psf="gaussian", psf_parameters={"sigma": (0.4, 0.1, 0.1)}, na=1.2,
              method="wiener", n_sample=1.4, centre_kernel=True)  # fmt: skip
    import shlex

    import typer

    from napari_deblur import options

    arguments = shlex.split(job.command())[2:]
    context = typer.main.get_command(app).commands["run"].make_context("run", arguments)
    assert options.job_of(context.params) == job


def test_a_job_whose_channels_differ_writes_no_method(tmp_path, file, kernel):
    job = Job(str(file), kernel={"0": str(kernel)}, shape=(3, 5, 5))
    assert "method" not in job.to_dict()
    assert Job(str(file), kernel=str(kernel)).to_dict()["method"] == "accelerated-richardson-lucy"
    assert Job(str(file)).to_dict()["method"] == "blind"
    names = [nd.methods.name_of(channel.method) for channel in job.plan().channels]
    assert names == ["accelerated-richardson-lucy", "identity"]  # noise is left as it is


def test_options_go_before_a_job_file(tmp_path, file, kernel):
    from napari_deblur import options

    (tmp_path / "job.toml").write_text('input = "cells.ome.tif"\nkernel = "k.tif"\n')
    address = str(tmp_path / "job.toml")
    job = options.job_of({"input": address, "psf": "gaussian", "psf_set": ["sigma=1,1,1"]})
    assert (job.kernel, job.psf, job.psf_parameters) == (None, "gaussian", {"sigma": (1, 1, 1)})
    job = options.job_of({"input": address})
    assert job.method_name == "accelerated-richardson-lucy"
    (tmp_path / "job.toml").write_text(
        'input = "cells.ome.tif"\npsf = "gaussian"\npsf_parameters = { sigma = [1, 1, 1] }\n'
    )
    assert options.job_of({"input": address, "kernel": [str(kernel)]}).psf is None
    assert options.job_of({"input": address}).psf_parameters == {"sigma": [1, 1, 1]}


def test_optics_by_name_fill_what_is_not_given(file):
    asked = {"input": str(file), "objective": "60x/1.20 water", "fluorophore": "egfp"}
    job = job_of(asked)
    assert (job.na, job.n_immersion, job.wavelength) == (1.2, 1.333, 0.507)
    assert job_of({**asked, "wavelength": 0.52, "na": 1.1}).wavelength == 0.52
    assert job_of({**asked, "wavelength": 0.52, "na": 1.1}).na == 1.1
    done = CliRunner().invoke(app, ["run", str(file), "--psf", "pupil", "--objective", "60x/9 oil"])
    assert done.exit_code == 2
    assert "no objective" in done.output


def test_kernels_of_all_channels_come_from_one_file(tmp_path, file):
    every = [Gaussian((0.4, s, s))((3, 5, 5), SIZE) for s in (0.1, 0.15)]
    array = np.stack([one.at() for one in every])[None]
    save_kernel(Kernel(array, SIZE), tmp_path / "two.zarr")
    few = {"method": "richardson-lucy", "parameters": {"iterations": 2}}
    plan = Job(str(file), kernel=str(tmp_path / "two.zarr"), **few).plan()
    assert plan.kernel.array == pytest.approx(array, abs=1e-6)
    # A table for one channel leaves the other one its own.
    table = (ChannelTable(index=0, psf="gaussian", psf_parameters=SIGMA),)
    mixed = Job(str(file), kernel=str(tmp_path / "two.zarr"), channel=table, **few).plan()
    shape = mixed.kernel.shape
    middle = tuple(
        slice(n // 2 - m // 2, n // 2 + m // 2 + 1) for n, m in zip(shape, (3, 5, 5), strict=True)
    )
    assert mixed.kernel.at(0, 1)[middle] == pytest.approx(array[0, 1], abs=1e-6)
    with pytest.raises(ValueError, match="channel 0 is given kernels for 2 channels: give the one"):
        Job(str(file), kernel={"0": str(tmp_path / "two.zarr")}, **few).plan()
