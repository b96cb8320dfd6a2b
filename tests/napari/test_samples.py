"""Sample data."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from napari_deblur._napari.reading import stack_of
from napari_deblur._napari.samples import chromosomes, embryo, simulated, spots


def test_simulated_picture_is_always_the_same():
    first, second = simulated()[0], simulated()[0]
    assert first.dtype == np.uint16
    np.testing.assert_array_equal(first, second)
    assert 100 < first.mean() < 200


def test_samples_have_units_axes_and_limits():
    viewer = ViewerModel()
    for data in [*embryo(), *chromosomes(), *spots()]:
        viewer.add_layer(Layer.create(*data))
    for layer in viewer.layers:
        assert {str(u) for u in layer.units} == {"micrometer"}
        assert set(layer.axis_labels) <= set("zyx")
    assert viewer.layers.extent.units is not None
    assert stack_of(viewer.layers["embryo"]).shape == (1, 1, 80, 112, 109)
    assert not viewer.layers["truth"].visible
