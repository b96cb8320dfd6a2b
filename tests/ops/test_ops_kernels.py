import pytest
import torch

from napari_deblur import ops


@pytest.mark.parametrize("shape", [(9, 9), (8, 9), (7, 8, 9)])
def test_shifting_moves_the_centroid_by_exactly_that(shape):
    kernel = ops.delta(shape)
    by = (0.3, -1.4, 0.75)[: len(shape)]
    moved = ops.shifted(kernel, by)
    assert float(moved.sum()) == pytest.approx(1)
    assert float(moved.min()) >= 0
    torch.testing.assert_close(ops.centroid(moved), torch.tensor(by))


def test_shifting_out_of_the_support_leaves_nothing():
    assert float(ops.shifted(ops.delta((5, 5)), (9.0, 0.0)).sum()) == 0


def test_normalised_has_sum_one_and_nothing_negative():
    kernel = ops.normalised(torch.tensor([[1.0, -1.0], [3.0, 0.0]]))
    assert kernel.tolist() == [[0.25, 0], [0.75, 0]]
