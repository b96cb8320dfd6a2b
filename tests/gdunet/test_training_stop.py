"""A training that is stopped keeps what it has: weights, the best of them, and a card."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_gdunet_training import FEW

from napari_deblur.gdunet.held_back import parted
from napari_deblur.gdunet.keeping import BEST, WEIGHTS, facts_of
from napari_deblur.gdunet.objects import made
from napari_deblur.gdunet.training import train
from napari_deblur.gdunet.validation import score_of
from napari_deblur.gdunet.weights import digest, load_network
from napari_deblur.training import line_of, page_of, train_network

LONG = replace(FEW, iterations=50, validate_every=99, checkpoint_minutes=60)


def _after(count):
    """Say stop once it was asked so often."""
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > count

    return stop


def test_a_stop_saves_validates_and_can_be_gone_on_with(tmp_path):
    steps = list(train(LONG, {}, tmp_path, stop=_after(3)))
    assert [step.iteration for step in steps] == [1, 2, 3, 3]
    assert steps[-1].validation is not None
    assert steps[-1].shown
    for name in (BEST, WEIGHTS):
        path = tmp_path / name
        network, facts = load_network(path, digest(path))
        assert facts["iterations"] == 3
        assert all(torch.isfinite(value).all() for value in network.parameters())
    again = train(LONG, {}, tmp_path)
    assert next(again).iteration == 4
    again.close()
    whole = train(replace(LONG, iterations=51), {}, tmp_path / "whole")
    losses = [next(whole).loss for _ in range(3)]
    assert losses == [step.loss for step in steps[:3]]


def test_a_stop_before_the_first_iteration_leaves_nothing(tmp_path):
    assert not list(train(LONG, {}, tmp_path, stop=lambda: True))
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_best_by_validation_is_kept(tmp_path):
    settings = replace(FEW, iterations=4, rate=0.5, validate_every=1)
    seen = {}
    for step in train(settings, {}, tmp_path):
        seen[step.iteration] = (score_of(step.validation), load_file(tmp_path / BEST))
    scores = [seen[i][0] for i in sorted(seen)]
    best = 1 + int(np.argmax(scores))
    facts = facts_of(tmp_path / BEST)
    assert facts["iterations"] == best
    assert facts["best"]["score"] == max(scores)
    kept = load_file(tmp_path / BEST)
    assert all(torch.equal(kept[name], seen[best][1][name]) for name in kept)
    assert facts_of(tmp_path / WEIGHTS)["iterations"] == 4
    # A training that goes on remembers; one with other cases begins anew.
    longer = replace(settings, iterations=5, rate=1e-9)
    list(train(longer, {}, tmp_path))
    assert facts_of(tmp_path / BEST)["best"]["score"] >= max(scores)
    list(train(replace(longer, iterations=6, objects=5), {}, tmp_path))
    assert facts_of(tmp_path / BEST)["iterations"] == 6


def test_weights_to_begin_with_are_validated_first(tmp_path):
    list(train(LONG, {}, tmp_path / "first", stop=_after(1)))
    start = tmp_path / "first" / WEIGHTS
    steps = list(train(LONG, {}, tmp_path / "second", start=start, stop=_after(1)))
    assert [step.iteration for step in steps] == [0, 1, 1]
    assert line_of(steps[0]).splitlines()[0] == "0: validated"
    assert line_of(steps[0]).splitlines()[1].startswith("  100 photons: PSNR ")
    line = json.loads((tmp_path / "second" / "log.jsonl").read_text().splitlines()[0])
    assert line["loss"] is None
    assert line["validation"] == steps[0].validation
    assert facts_of(tmp_path / "second" / BEST)["begun_with"] == str(start)
    with pytest.raises(ValueError, match="of a network of another size"):
        next(train(FEW, {}, tmp_path / "third", start="tiny"))
    with pytest.raises(FileNotFoundError, match='no weights "nothing"'):
        next(train(FEW, {}, tmp_path / "third", start="nothing"))
    with pytest.raises(ValueError, match="is of a larger network"):
        next(train(replace(FEW, configuration="tiny"), {}, tmp_path / "third", start="light"))


def test_the_best_stays_wherever_the_weights_lie_that_it_began_with(tmp_path):
    list(train(LONG, {}, tmp_path / "first", stop=_after(1)))
    start = tmp_path / "first" / WEIGHTS
    list(train(LONG, {}, tmp_path / "second", start=start, stop=_after(1)))
    best = tmp_path / "second" / BEST
    before = facts_of(best)["best"]["score"]
    moved = start.rename(tmp_path / "elsewhere.safetensors")
    for after, begun in ((2, moved), (3, start)):  # where they are by now, and where they were
        worse = replace(LONG, rate=30.0, warm_up=1)
        list(train(worse, {}, tmp_path / "second", start=begun, stop=_after(after)))
        assert facts_of(best)["best"]["score"] >= before
        assert facts_of(best)["begun_with"] == str(start)


def test_what_is_held_back_is_not_learned_from():
    many = [(np.full((4, 5), i),) for i in range(20)]
    learnt, held = parted(many, 3)
    assert [int(one[0][0, 0]) for one in held] == [0, 16]
    assert len(learnt) == 18
    single = np.arange(30 * 100).reshape(30, 100)
    learnt, held = parted([(single, -single)], 20)
    for sign, one, other in zip((1, -1), learnt[0], held[0], strict=True):
        np.testing.assert_array_equal(np.concatenate((one, other), axis=1), sign * single)
    assert held[0][0].shape == (30, 20)
    small = [(single[:, :30],)]
    assert parted(small, 20) == (small, small)
    assert parted([], 20) == ([], [])


def test_images_without_a_crop_are_told(tmp_path):
    with pytest.raises(ValueError, match="no sharp image has a crop of 40 × 40 px"):
        next(train(FEW, {"mine": (1.0, [np.eye(39)])}, tmp_path))


def _written(folder, arrays):
    from PIL import Image

    folder.mkdir()
    for i, array in enumerate(arrays):
        Image.fromarray((200 * array.clip(0, 1)).astype(np.uint8)).save(folder / f"{i}.png")


def test_pairs_are_validated_and_the_card_says_all(tmp_path):
    fields = made(2, 72, 0).astype(np.float32)
    _written(tmp_path / "clear", fields)
    _written(tmp_path / "wide", [(f + np.roll(f, 1, 0) + np.roll(f, 1, 1)) / 3 for f in fields])
    lines = ['start = ""', "[optics]", "na = 1.2", "wavelength = 0.52", "pixel_size = 0.1"]
    lines += ["[[pairs]]", 'blurred = "wide"', 'sharp = "clear"']
    lines += ["[[images]]", 'folder = "clear"', "[training]", 'configuration = "small"']
    lines += ["sizes = [[32, 9]]", "batch = 2", "warm_up = 2", "objects = 4", "kernels = 8"]
    lines += ["iterations = 20", "decay = 1", "validate_every = 2"]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    out = tmp_path / "out"
    steps = list(train_network(tmp_path / "mine.toml", out, stop=_after(2)))
    found = steps[-1].validation
    assert "pairs: psnr out" in found
    assert "pairs: ncc out" not in found
    assert score_of(found) == found["pairs: psnr out"]
    kinds = [one.name for one in steps[-1].shown]
    assert set(kinds) == {"100 photons", "1000 photons", "pairs"}
    assert not steps[-1].shown[-1].true.any()
    few, all_of_them = page_of(steps[-1], words=False, each=1), page_of(steps[-1])
    assert few.image.height < all_of_them.image.height / 2
    card = (out / "model_card.md").read_text("utf-8")
    assert f"after 2 iterations, the best validation; SHA-256 `{digest(out / BEST)}`" in card
    assert "NA 1.2, 0.52 µm, pixels of 0.1 µm" in card
    assert f"`{digest(tmp_path / 'wide' / '1.png')}`" in card
    assert (
        f"| pairs | {found['pairs: psnr in']:.3f} | {found['pairs: psnr out']:.3f} |  |  |" in card
    )
    assert '"configuration": "small"' in card
    (tmp_path / "mine.toml").write_text("\n".join(["begin = 1", *lines]))
    with pytest.raises(ValueError, match="has parts begin: known are start, training"):
        list(train_network(tmp_path / "mine.toml", out))
