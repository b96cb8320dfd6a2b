import numpy as np
import torch

from napari_deblur import ops


def test_split_marks_everything_that_is_not_finite():
    tile = torch.tensor([[1.0, torch.nan], [torch.inf, -2.0]])
    values, mask = ops.split(tile)
    assert values.tolist() == [[1, 0], [0, -2]]
    assert mask.tolist() == [[1, 0], [0, 1]]
    assert ops.split(torch.ones(2, 2))[1] is None


def test_filling_keeps_what_is_known_and_stays_within_its_range():
    values = 50 + 10 * torch.rand(20, 24, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(20, 24)
    mask[5:9, 6:12] = 0
    grid = ops.filled(values * mask, mask, (36, 40), (5, 5))
    assert torch.equal(grid[:20, :24][mask > 0], values[mask > 0])
    hole = grid[:20, :24][mask == 0]
    assert float(hole.min()) > 45
    assert float(hole.max()) < 65
    assert float(grid.min()) > -0.1
    assert float(grid.max()) < 62
    # The gap begins like the border next to it and ends at 0.
    assert abs(float(grid[20, 12] - values[19, 12])) < 12
    assert float(grid[28, 12].abs()) == 0


def test_mean_square_does_not_depend_on_the_number_of_threads():
    values = torch.rand(700, 900, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(float(ops.mean_square(values.clone(), values.numel())))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]
    np.testing.assert_allclose(results[0], 1 / 3, rtol=0.01)
