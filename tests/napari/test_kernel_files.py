"""Kernel files in the widget: one kernel for each channel, and kernels that vary over the field."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils import notifications

from napari_deblur._napari.asking import saved_kernel
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.samples import simulated
from napari_deblur.kernel_files import save_kernel
from napari_deblur.ops.fields import field_of
from napari_deblur.per_channel import given_in
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import open_result, save_field

SIZE = (1.0, 0.1, 0.1)


def gaussian(sigma):
    return Gaussian((0, sigma, sigma))((1, 9, 9), (1.0, 1.0, 1.0)).at()


@pytest.fixture
def field():
    sigmas = np.linspace(0.8, 2.0, 3).reshape(1, 1, 3)
    kernels = np.stack([gaussian(s) for s in sigmas.ravel()]).reshape(1, 1, 3, 1, 9, 9)
    nodes = ((0.0,), (47.5,), (0.0, 47.5, 95.0))
    return field_of(kernels, nodes, maps={"sigma": sigmas}, pixel_size=SIZE)


@pytest.fixture
def pair():
    return Kernel(np.stack([gaussian(1.0), gaussian(2.0)])[None], SIZE)


@pytest.fixture
def deblurred(qtbot, scratch, monkeypatch):
    """Preview and run an image with a kernel file; give the viewer and the result."""

    def do(image, axes, path):
        errors = []
        monkeypatch.setattr(notifications, "show_error", errors.append)
        viewer = ViewerModel()
        widget = Deblur(viewer)
        qtbot.addWidget(widget)
        viewer.layers.events.inserted.connect(widget.reset_choices)
        scale = (1.0,) * (len(axes) - 2) + (0.1, 0.1)
        viewer.add_image(image, name="cells", scale=scale, units="um", axis_labels=tuple(axes))
        widget.set_way("file")
        widget.method.setCurrentText("richardson-lucy")
        widget._forms["richardson-lucy"]["iterations"].value = 5
        widget.kernel_file.put(str(path))
        for button in (widget.preview, widget.run):
            button.click()
            qtbot.waitUntil(lambda: not widget.cancel.isEnabled(), timeout=120_000)
        qtbot.waitUntil(lambda: any("restored" in one.name for one in viewer.layers))
        assert not errors
        return viewer, open_result(scratch / "cells.deblur.zarr")

    return do


def test_a_kernel_of_a_layer_is_saved_once_and_read_the_same(field, pair, tmp_path):
    for kernel in (field, pair):
        path = saved_kernel(kernel, tmp_path / "kernels", "my psf")
        assert path.name.startswith("my-psf-")
        assert saved_kernel(kernel, tmp_path / "kernels", "my psf") == path
        again = given_in(str(path))
        assert type(again) is type(kernel)
        assert again.pixel_size == kernel.pixel_size
        if again is not field and hasattr(again, "array"):
            np.testing.assert_allclose(again.array, kernel.array, rtol=1e-6)
    assert len(list((tmp_path / "kernels").iterdir())) == 2


def test_a_field_file_restores_with_kernels_that_vary(deblurred, field, tmp_path):
    save_field(field, tmp_path / "field.npz")
    viewer, result = deblurred(simulated(96)[0], "yx", tmp_path / "field.npz")
    np.testing.assert_array_equal(result.plan.field(0).kernels(), field.kernels())
    shown = {layer.name.removeprefix("cells ").partition(" [")[0] for layer in viewer.layers}
    assert shown == {"cells", "preview", "preview kernel", "restored", "kernels", "sigma"}


def test_a_file_of_several_kernels_gives_each_channel_its_own(deblurred, pair, tmp_path):
    save_kernel(pair, tmp_path / "pair.npz")
    _, result = deblurred(np.stack([simulated(96)[0]] * 2), "cyx", tmp_path / "pair.npz")
    np.testing.assert_allclose(result.plan.kernel.array, pair.array, atol=1e-7)
