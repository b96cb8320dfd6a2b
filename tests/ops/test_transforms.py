import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_deblur.ops import transforms
from napari_deblur.ops.transforms import backward, engine, forward, real_view

needs_mkl = pytest.mark.skipif(engine() != "mkl", reason="torch has no such library here")


@st.composite
def cases(draw):
    ndim = draw(st.integers(1, 3))
    lengths = tuple(draw(st.lists(st.integers(1, 13), min_size=ndim, max_size=ndim)))
    size = tuple(draw(st.integers(1, n)) for n in lengths)
    lead = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    return lead, size, lengths, draw(st.integers(0, 999))


@needs_mkl
@settings(deadline=None)
@given(cases())
def test_both_engines_agree_in_one_to_three_dimensions_and_batches(case):
    lead, size, lengths, seed = case
    thing = torch.randn(*lead, *size, generator=torch.Generator().manual_seed(seed))
    dims = tuple(range(-len(lengths), 0))
    wanted = torch.fft.rfftn(thing, s=lengths, dim=dims)
    # Whatever lies in the memory that is worked in must not matter.
    out = torch.full(wanted.shape, float("nan"), dtype=torch.complex64)
    spectrum = forward(thing, lengths, out=out)
    assert spectrum is out
    scale = float(wanted.abs().max())
    torch.testing.assert_close(spectrum, wanted, rtol=0, atol=1e-5 * scale)
    again = backward(spectrum, lengths)
    where = (..., *(slice(n) for n in size))
    torch.testing.assert_close(again[where], thing, rtol=0, atol=1e-5 * float(thing.abs().max()))


@needs_mkl
@pytest.mark.parametrize("lengths", [(96,), (45, 64), (30, 48, 50), (27, 35, 49)])
def test_usual_sizes_agree(lengths):
    thing = torch.rand(lengths, generator=torch.Generator().manual_seed(0))
    wanted = torch.fft.rfftn(thing)
    spectrum = forward(thing, lengths)
    assert float((spectrum - wanted).norm() / wanted.norm()) < 1e-6
    first = 5 if lengths[0] > 5 else None
    torch.testing.assert_close(
        backward(spectrum, lengths, planes=first)[:first], thing[:first], rtol=0, atol=1e-6
    )


@needs_mkl
def test_nothing_is_copied_where_the_thing_lies_in_the_workspace():
    lengths = (8, 10, 12)
    work = torch.empty(8, 10, 7, dtype=torch.complex64)
    thing = real_view(work, lengths)[:5, :6, :7]
    thing.copy_(torch.rand(5, 6, 7))
    wanted = torch.fft.rfftn(thing.clone(), s=lengths)
    torch.testing.assert_close(forward(thing, lengths, out=work), wanted)


@needs_mkl
def test_many_threads_may_transform_at_once():
    generator = torch.Generator().manual_seed(1)
    things = [torch.rand(12 + i % 3, 20, 22, generator=generator) for i in range(24)]

    def round_trip(thing):
        lengths = tuple(thing.shape)
        return backward(forward(thing, lengths), lengths).clone()

    with ThreadPoolExecutor(8) as pool:
        for thing, again in zip(things, pool.map(round_trip, things), strict=True):
            torch.testing.assert_close(again, thing, rtol=0, atol=1e-6)


@needs_mkl
def test_plans_are_kept_and_no_more_than_a_few():
    transforms._plan.cache_clear()
    for n in range(4, 4 + 2 * transforms.KEPT):
        forward(torch.rand(n), (n,))
    assert transforms._plan.cache_info().currsize == transforms.KEPT
    before = transforms._plan.cache_info().misses
    forward(torch.rand(n), (n,))
    assert transforms._plan.cache_info().misses == before


def test_gradients_take_the_plain_way():
    thing = torch.rand(6, 8, requires_grad=True)
    backward(forward(thing, (9, 10)) * 2, (9, 10)).sum().backward()
    torch.testing.assert_close(thing.grad, torch.full((6, 8), 2.0))


@pytest.mark.parametrize(("asked", "found"), [("torch", "torch"), ("", engine())])
def test_an_environment_variable_switches(asked, found):
    code = "from napari_deblur.ops.transforms import engine; print(engine())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NAPARI_DEBLUR_FFT": asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == found


def test_a_wrong_switch_is_named(monkeypatch):
    transforms._library.cache_clear()
    monkeypatch.setenv("NAPARI_DEBLUR_FFT", "fftw")
    try:
        with pytest.raises(ValueError, match='NAPARI_DEBLUR_FFT is "fftw": set it to mkl or torch'):
            engine()
    finally:
        monkeypatch.undo()
        transforms._library.cache_clear()


def test_without_the_library_methods_give_the_same(monkeypatch):
    from napari_deblur.methods.richardson_lucy import RichardsonLucy
    from napari_deblur.testing import scene

    made = scene((20, 24, 25), (5, 6, 7), beads=4)
    method = RichardsonLucy(15).resolved([made.sample()])
    planned = method(made.seen, made.blur).image
    monkeypatch.setattr(transforms, "_library", lambda: None)
    fresh = type(made.blur)(made.blur.basis)
    plain = method(made.seen, fresh).image
    torch.testing.assert_close(planned, plain, rtol=0, atol=1e-5 * float(plain.max()))
