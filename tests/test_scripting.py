"""Jobs as Python: what stands there does the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_deblur as nd
from napari_deblur.per_channel import ChannelTable
from napari_deblur.results import open_result
from napari_deblur.scripting import python_of

JOBS = [
    nd.Job("a.tif"),
    nd.Job("cells [1].ome.tif", "out.deblur.zarr", "wiener", {"noise": 3.5}, kernel="k.npz"),
    nd.Job(
        'it\'s \\ "quoted" µ.tif',
        psf="gaussian",
        psf_parameters={"sigma": (0.3, 0.1, 0.1)},
        pixel_size=(0.2, 0.1, 0.1),
        keep_background=False,
        channels=(0, "GFP"),
        channel=(ChannelTable(index=0, wavelength=0.52), ChannelTable(name="GFP", method="blind")),
    ),
]


@pytest.mark.parametrize("job", JOBS, ids=["bare", "kernel", "tables"])
def test_python_says_the_job(job):
    found = {"__name__": "elsewhere"}
    exec(compile(python_of(job), "job.py", "exec"), found)
    assert found["job"].to_dict() == job.resolved().to_dict()
    assert max(map(len, python_of(job).splitlines())) <= 100


def test_python_run_elsewhere_gives_the_same_store(tmp_path):
    image = np.random.default_rng(0).poisson(60, (2, 40, 44)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image)
    np.save(tmp_path / "k.npy", np.ones((3, 3), np.float32))
    job = nd.Job(
        str(tmp_path / "a.tif"),
        str(tmp_path / "one.deblur.zarr"),
        "richardson-lucy",
        {"iterations": 4},
        kernel=str(tmp_path / "k.npy"),
        axes="tyx",
    )
    list(job.run())
    text = python_of(job).replace("one.deblur", "two.deblur")
    (tmp_path / "job.py").write_text(text, "utf-8")
    path = str(Path(nd.__file__).parents[1])
    subprocess.run(
        [sys.executable, str(tmp_path / "job.py")],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    one, two = (open_result(tmp_path / f"{name}.deblur.zarr") for name in ("one", "two"))
    assert one.key == two.key
    for a, b in zip(one.levels, two.levels, strict=True):
        np.testing.assert_array_equal(a[:], b[:])
