import importlib.util

import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_deblur import cli, demonstration
from napari_deblur.kernels import load_kernel
from napari_deblur.results import open_result


@pytest.fixture
def small(monkeypatch):
    """The demonstration on a piece of the stack, with little work."""
    import dataclasses

    whole = demonstration.job

    def job(out):
        few = {"families": ("gaussian",)}
        return dataclasses.replace(
            whole(out), region="10:30,50:90,40:80", shape=(5, 7, 7), parameters=few
        )

    monkeypatch.setattr(demonstration, "job", job)


def test_the_demo_leaves_a_result_a_kernel_and_a_picture(tmp_path, small):
    out = tmp_path / "new" / "demo"
    done = CliRunner().invoke(cli.app, ["demo", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("$ napari-deblur run ")
    assert "done in " in done.stdout
    result = open_result(out / "chromosomes.deblur.zarr")
    assert result.complete
    assert result.plan.kernel.report["method"] == "blind"
    for name in ("chromosomes.deblur.zarr", "kernel.tif", "report.png"):
        assert str(out / name) in done.stdout
    assert load_kernel(out / "kernel.tif").pixel_size == pytest.approx((0.15, 0.0339, 0.0339))
    with Image.open(out / "report.png") as picture:
        assert picture.width > 1000
    again = CliRunner().invoke(cli.app, ["demo", "--out", str(out)])
    assert again.exit_code == 0, again.output


def test_view_says_how_to_get_napari(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(demonstration, "find_spec", lambda n: None if n == "napari" else find(n))
    done = CliRunner().invoke(cli.app, ["demo", "--view", "--out", str(tmp_path / "demo")])
    assert done.exit_code == 1
    assert 'pip install "napari-deblur[all]"' in done.stderr
    assert not (tmp_path / "demo").exists()


def test_view_shows_input_and_result(tmp_path, small, make_napari_viewer, monkeypatch):
    import napari

    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda **_: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    job = demonstration.job(tmp_path)
    list(job.run())
    demonstration.view(job)
    assert len(viewer.layers) >= 2
    assert tuple(viewer.layers[0].scale) == pytest.approx((0.15, 0.0339, 0.0339))
