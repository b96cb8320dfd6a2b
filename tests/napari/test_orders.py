"""What a live preview keeps, and what it drops; without Qt."""

import numpy as np
import pytest

import napari_deblur as nd
from napari_deblur._napari.asking import Ask
from napari_deblur._napari.kept import Decided
from napari_deblur._napari.orders import Order, following
from napari_deblur._napari.preview import Window, previewing
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Cancelled

METHODS = nd.methods
KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))
WINDOW = Window(0, (0,), ((0, 1), (20, 60), (30, 80)), 0, chosen=True)


def _finish(steps):
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            return done.value, said


def _searched(said):
    return any("kernel" in sentence for sentence in said)


def _asking(ask):
    return ask
    yield


@pytest.fixture
def stack(picture):
    return open_stack(picture, "yx", 0.1)


@pytest.mark.parametrize(
    "asks",
    [
        # The search of the first needs 3 rounds; only the restoring afterwards counts iterations.
        [
            Ask.of(METHODS["blind-richardson-lucy"](rounds=3, iterations=n), device="cpu")
            for n in (5, 6)
        ],
        # Whatever restores with a kernel that is given.
        [
            Ask.of(METHODS["richardson-lucy"](iterations=5), KERNEL, device="cpu"),
            Ask.of(METHODS["wiener"](), KERNEL, device="cpu"),
        ],
    ],
    ids=["found", "given"],
)
def test_kernel_and_facts_are_decided_once(stack, asks):
    decided = Decided()
    first, said = _finish(decided.plan(asks[0], stack, ()))
    assert _searched(said)
    second, said = _finish(decided.plan(asks[1], stack, (), search=False))
    assert not _searched(said[1:])
    assert second.kernel is first.kernel
    assert second.channels[0].facts is first.channels[0].facts
    # What was said of the kernel is said again, what was said of other numbers is not.
    assert [n for n in first.notes if "kernel" in n] == [n for n in second.notes if "kernel" in n]
    # With a kernel that is kept the plan is the one that a search from nothing ends in.
    third, _ = _finish(Decided().plan(asks[1], stack, ()))
    assert second.key == third.key


def test_another_search_is_not_made_unasked(stack):
    decided = Decided()
    method = METHODS["blind-richardson-lucy"]
    _finish(decided.plan(Ask.of(method(rounds=3, iterations=5), device="cpu"), stack, ()))
    for changed in (
        Ask.of(method(rounds=2, iterations=5), device="cpu"),
        Ask.of(method(rounds=3, iterations=5), device="cpu", shape=(1, 5, 5)),
        Ask.of(method(rounds=3, iterations=5), device="cpu", scope="channel-time"),
    ):
        assert not decided.knows(changed, stack, ())
        assert _finish(decided.plan(changed, stack, (), search=False)) == (None, [])
    decided.forget()
    same = Ask.of(method(rounds=3, iterations=5), device="cpu")
    assert not decided.knows(same, stack, ())


@pytest.mark.parametrize("scope", ["channel-time", "tile"])
def test_kernels_of_frames_and_tiles_are_kept_too(picture, scope):
    data = np.stack([picture[:64, :64], picture[-64:, -64:]])
    stack = open_stack(data, "tyx", 0.1)
    method = METHODS["blind-richardson-lucy"]
    asks = [
        Ask.of(method(rounds=2, steps=2, iterations=n), device="cpu", scope=scope, shape=(1, 5, 5))
        for n in (3, 4)
    ]
    decided = Decided()
    first, _ = _finish(decided.plan(asks[0], stack, ()))
    second, _ = _finish(decided.plan(asks[1], stack, (), search=False))
    assert second.scope == first.scope == scope
    np.testing.assert_array_equal(second.kernel.array, first.kernel.array)
    assert second.channels[0].method.iterations == 4


def test_channels_keep_their_own_kernels(picture):
    stack = open_stack(np.stack([picture, picture[::-1].copy()]), "cyx", 0.1)
    wide = nd.Kernel(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]))
    both = nd.Kernel(np.stack([np.pad(KERNEL.at(), ((0, 0), (1, 1), (1, 1))), wide.at()])[None])
    decided = Decided()
    asks = [Ask.of(METHODS["richardson-lucy"](iterations=n), both, device="cpu") for n in (3, 4)]
    _finish(decided.plan(asks[0], stack, ()))
    second, _ = _finish(decided.plan(asks[1], stack, (), search=False))
    assert second.kernel.array.shape[1] == 2
    fresh, _ = _finish(Decided().plan(asks[1], stack, ()))
    assert second.key == fresh.key


def test_newer_orders_go_before(stack):
    """A change drops what goes on, within an iteration, but for a search that it needs too."""
    method = METHODS["blind-richardson-lucy"]
    asks = [Ask.of(method(rounds=3, iterations=n), device="cpu", shape=(1, 5, 5)) for n in (500, 3)]
    orders = [Order(_asking(ask), stack, WINDOW, ()) for ask in asks]
    looked = []

    def newest():
        looked.append(1)
        return orders[0 if len(looked) < 12 else 1]  # while it searches

    decided = Decided()
    steps = following(newest, decided, lambda: False)
    (done, preview), said = _finish(steps)
    assert done is orders[1]
    assert sum(s.startswith("finding the kernel") for s in said) == 1
    assert preview.plan.channels[0].method.iterations == 3
    assert preview.plan.kernel is _finish(decided.plan(asks[0], stack, ()))[0].kernel
    # What is shown already is not made again.
    shown = (preview.plan, preview.window)
    (_, again), said = _finish(following(lambda: orders[1], decided, lambda: False, shown))
    assert again is None


def test_a_search_for_something_else_is_dropped(stack):
    method = METHODS["blind-richardson-lucy"]
    asks = [
        Ask.of(method(rounds=200, iterations=3), device="cpu"),
        Ask.of(METHODS["wiener"](), KERNEL, device="cpu"),
    ]
    orders, looked = [Order(_asking(ask), stack, WINDOW, ()) for ask in asks], []

    def newest():
        looked.append(1)
        return orders[0 if len(looked) < 12 else 1]

    (done, preview), _ = _finish(following(newest, Decided(), lambda: False))
    assert done is orders[1]
    assert preview.image.shape == (1, 1, 40, 50)


def test_cancelled_live_preview_ends(stack):
    ask = Ask.of(METHODS["richardson-lucy"](iterations=500), KERNEL, device="cpu")
    order, looked = Order(_asking(ask), stack, WINDOW, ()), []

    def cancelled():
        looked.append(1)
        return len(looked) > 20

    with pytest.raises(Cancelled):
        _finish(following(lambda: order, Decided(), cancelled))


def test_preview_tells_speed_and_residuals(stack):
    ask = Ask.of(METHODS["wiener"](), KERNEL, device="cpu")
    preview, _ = _finish(previewing(ask, stack, WINDOW, None, lambda: False))
    assert 0 < preview.seconds < 10
    assert preview.voxels >= 40 * 50
    assert len(preview.residuals) == 1


def test_region_of_a_volume_equals_the_run():
    """A drawn box of a volume that is cut into tiles, with its halo."""
    random = np.random.default_rng(5)
    data = random.poisson(30 + 400 * (random.random((6, 48, 96)) > 0.995)).astype(np.uint16)
    stack = open_stack(data, "zyx", (0.2, 0.1, 0.1))
    kernel = nd.Kernel(np.einsum("i,j,k->ijk", [1, 2, 1], [1, 3, 1], [1, 3, 1]))
    method = METHODS["richardson-lucy"](iterations=8)
    asked = {"kernel": kernel, "tile": (6, 48, 48), "device": "cpu", "judge": False}
    plan = nd.plan(stack, method, **asked)
    assert len(plan) > 1
    window = Window(0, (0,), ((2, 5), (10, 40), (25, 60)), 3, chosen=True)
    ask = Ask.of(method, kernel, device="cpu")
    preview, _ = _finish(previewing(ask, stack, window, plan, lambda: False))
    assert preview.window == window
    whole = nd.deconvolve(plan, stack).compute()[2:5, 10:40, 25:60]
    peak = plan.channels[0].facts.white - plan.channels[0].facts.background
    assert np.abs(preview.image[0] - whole).max() < 1e-3 * peak
