"""Training data are what they say, and a training that was killed goes on as if it had not been."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_deblur import ops
from napari_deblur.gdunet import training
from napari_deblur.gdunet.blocks import Pyramid
from napari_deblur.gdunet.keeping import Keeper
from napari_deblur.gdunet.kernels import FAMILIES, made_kernels
from napari_deblur.gdunet.losses import kernel_decibels, loss, psnr
from napari_deblur.gdunet.network import CONFIGURATIONS, Configuration, Network
from napari_deblur.gdunet.objects import KINDS, crops, made
from napari_deblur.gdunet.pairs import crops_of_pairs, paired_batch
from napari_deblur.gdunet.physics import blurred, inner
from napari_deblur.gdunet.scene import Pair
from napari_deblur.gdunet.schedule import Settings
from napari_deblur.gdunet.synthesis import Bank, Recipe, batch
from napari_deblur.gdunet.training import train
from napari_deblur.gdunet.weights import digest, load_network, weights_path
from napari_deblur.training import (
    image_pairs,
    line_of,
    sharp_images,
    train_network,
    training_settings,
)

SMALL = Configuration(width=4, encoder=(1, 1), decoder=(1, 1), gradient_width=4, kernel_width=8)
CONFIGURATIONS.setdefault("small", SMALL)
DENSE = replace(SMALL, dense=1, dense_widths=(8, 12), dense_encoder=(1, 1), dense_decoder=(1,))
CONFIGURATIONS.setdefault("dense", DENSE)
FEW = Settings(
    configuration="small",
    iterations=4,
    batch=2,
    sizes=((32, 9), (24, 7)),
    warm_up=2,
    decay=2,
    curriculum=4,
    objects=4,
    kernels=8,
    log_every=1,
    validate_every=4,
    checkpoint_minutes=0,
)


@pytest.fixture(scope="module")
def bank():
    return Bank([(1.0, made(6, 64, 0))], made_kernels(24, 15, 0))


def test_objects_and_kernels_are_the_same_for_the_same_seed():
    np.testing.assert_array_equal(made(3, 48, 5), made(3, 48, 5))
    np.testing.assert_array_equal(made_kernels(4, 11, 5), made_kernels(4, 11, 5))
    assert not np.array_equal(made(3, 48, 5), made(3, 48, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_has_structure(kind):
    for seed in range(3):
        image = kind(64, np.random.default_rng(seed))
        assert image.shape == (64, 64)
        assert np.isfinite(image).all()
        assert image.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_are_kernels(family):
    kernels = made_kernels(5, 31, 1, shares={family: 1.0})
    assert (kernels >= 0).all()
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, rtol=1e-5)
    places = np.arange(31) - 15
    for axis in (1, 2):
        assert np.abs((kernels.sum(axis) * places).sum(1)).max() < 0.05


def test_crops_are_scaled_and_not_empty():
    random = np.random.default_rng(0)
    images = [1000 + 300 * random.random((100, 120)), np.full((100, 100), 7), np.ones((20, 20))]
    found = crops(images, 48, 0, each=4)
    assert found.shape[1:] == (48, 48)
    assert 1 <= len(found) <= 4
    assert found.min() >= 0
    assert found.max() <= 2


def test_a_batch_is_an_object_its_blur_and_its_noise(bank):
    recipe = Recipe(count=16, side=48, kernel=15, photons=(200, 200.1), read_noise=0.0)
    one, two = (batch(bank, recipe, 3, 0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(_tensors(one), _tensors(two), strict=True))
    assert not torch.equal(one.seen, batch(bank, recipe, 4, 0).seen)
    torch.testing.assert_close(blurred(one.sharp, one.kernel), one.clean, atol=1e-4, rtol=1e-4)
    noise = inner(one.seen, (15, 15)) - one.clean
    known = one.noise[:, 0] * one.clean.mean(dim=(1, 2, 3)) + one.noise[:, 1]
    ratio = noise.square().mean(dim=(1, 2, 3)) / known
    assert 0.8 < float(ratio.median()) < 1.25


def test_first_kernels_are_the_true_ones_where_they_are_given(bank):
    drawn = batch(bank, Recipe(count=4, side=32, kernel=15, given=1.0), 0, 0)
    torch.testing.assert_close(drawn.first, drawn.kernel)


def test_objects_that_are_too_small_say_how_large_they_must_be(bank):
    with pytest.raises(ValueError, match="need objects of 94 px, these have 64 px"):
        batch(bank, Recipe(side=80, kernel=15), 0, 0)


def test_the_truth_has_the_smallest_loss(bank):
    drawn = batch(bank, Recipe(count=3, side=48, kernel=15), 0, 0)
    truth = loss([Pair(drawn.sharp, drawn.kernel)], drawn)
    assert float(truth) < 1e-3
    assert float(loss([Pair(drawn.sharp + 0.01, drawn.kernel)], drawn)) > float(truth)
    assert float(loss([Pair(drawn.sharp, drawn.first)], drawn)) > float(truth)
    assert (psnr(drawn.sharp, drawn) > 100).all()
    assert (kernel_decibels(drawn.kernel, drawn.kernel) > 100).all()


def test_a_training_goes_on_bit_for_bit_after_it_was_stopped(tmp_path):
    whole = list(train(FEW, {}, tmp_path / "whole"))
    stopped = train(FEW, {}, tmp_path / "parts")
    next(stopped)
    next(stopped)
    next(stopped)  # each is saved before it is told
    stopped.close()
    rest = list(train(FEW, {}, tmp_path / "parts"))
    assert [step.iteration for step in whole] == [1, 2, 3, 4]
    assert [step.iteration for step in rest] == [4]
    assert [step.loss for step in whole[3:]] == [step.loss for step in rest]
    names = ("checkpoint.safetensors", "weights.safetensors")
    for name in names:
        one, two = (load_file(tmp_path / part / name) for part in ("whole", "parts"))
        assert list(one) == list(two)
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert digest(tmp_path / "whole" / name) == digest(tmp_path / "parts" / name)
    lines = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4]
    assert whole[-1].validation is not None

    path = weights_path(tmp_path / "whole" / "weights.safetensors")
    network, facts = load_network(path, digest(path))
    assert facts["kernel_sizes"] == [7, 9]
    assert network.configuration == SMALL
    with pytest.raises(ValueError, match="it has changed, plan anew"):
        load_network(path, "0" * 64)
    with pytest.raises(ValueError, match="choose another folder"):
        next(train(replace(FEW, configuration="tiny"), {}, tmp_path / "whole"))


def test_a_kill_right_after_a_checkpoint_costs_no_line_of_the_log(tmp_path, monkeypatch):
    save = Keeper.save

    def killed(self, iteration):
        save(self, iteration)
        if iteration == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            list(train(FEW, {}, tmp_path))
    assert [step.iteration for step in train(FEW, {}, tmp_path)] == [3, 4]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4]


def test_the_best_of_another_network_is_not_kept(tmp_path, monkeypatch):
    list(train(FEW, {}, tmp_path))
    (tmp_path / "checkpoint.safetensors").unlink()  # as the refusal of other settings says
    monkeypatch.setitem(CONFIGURATIONS, "other", replace(SMALL, width=8))
    list(train(replace(FEW, configuration="other"), {}, tmp_path))
    best = tmp_path / "best.safetensors"
    assert load_network(best, digest(best))[0].configuration.width == 8


def test_a_training_that_is_lost_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "ASTRAY", 2)
    monkeypatch.setattr(training, "loss", lambda *a, **k: loss(*a, **k) * torch.nan)
    with pytest.raises(ValueError, match="2 iterations up to 2 gave numbers that are not finite"):
        list(train(FEW, {}, tmp_path))


def test_a_log_that_was_cut_in_a_line_is_gone_on_with(tmp_path):
    list(train(FEW, {}, tmp_path))
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole[:-1] + '\n{"iteration": 4, "numbers": {}')
    assert list(train(replace(FEW, iterations=5), {}, tmp_path))[-1].iteration == 5
    assert log.read_text().startswith(whole)
    with log.open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert list(train(replace(FEW, iterations=6), {}, tmp_path))[-1].iteration == 6
    assert log.read_text().startswith(whole)


def test_stages_that_never_learn_must_know_something(tmp_path):
    alone = replace(FEW, configuration="dense", learned="dense")
    with pytest.raises(ValueError, match="say which weights they have"):
        list(train(alone, {}, tmp_path / "alone"))
    list(train(FEW, {}, tmp_path / "small"))
    start = tmp_path / "small" / "weights.safetensors"
    assert list(train(alone, {}, tmp_path / "both", start=start))[-1].iteration == 4
    again = replace(alone, iterations=5)
    assert list(train(again, {}, tmp_path / "both"))[-1].iteration == 5  # it has them


def test_what_a_training_begins_with_lies_beside_its_settings(tmp_path):
    list(train(FEW, {}, tmp_path / "first"))
    (tmp_path / "first" / "weights.safetensors").rename(tmp_path / "mine.safetensors")
    few = {k: v for k, v in vars(FEW).items() if k in ("batch", "objects", "kernels", "iterations")}
    numbers = "\n".join(f"{name} = {value}" for name, value in few.items())
    sizes = 'sizes = [[32, 9], [24, 7]]\ndecay = 2\nconfiguration = "small"'
    settings = tmp_path / "settings.toml"
    settings.write_text(f'start = "mine.safetensors"\n[training]\n{numbers}\n{sizes}\n')
    (tmp_path / "data").mkdir()
    steps = list(train_network(settings, tmp_path / "second", data=tmp_path / "data"))
    assert steps[0].iteration == 0


def test_what_was_trained_before_is_not_begun_with_what_is_easy(tmp_path, monkeypatch):
    chosen = []

    def never(settings, images, folder, **kwargs):
        folder.mkdir()
        chosen.append(settings)
        return iter(())

    monkeypatch.setattr(training, "train", never)
    for name, start in (("new", ""), ("more", 'start = "tiny"\n')):
        (tmp_path / f"{name}.toml").write_text(f"{start}[training]\niterations = 10\n")
        list(train_network(tmp_path / f"{name}.toml", tmp_path / name))
    assert [settings.curriculum for settings in chosen] == [2500, 0]


def test_packaged_settings_say_that_they_need_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data FOLDER"):
        list(train_network("tiny", tmp_path / "out"))


def test_settings_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="unknown settings: speed"):
        Settings.of({"speed": 3})
    with pytest.raises(ValueError, match='no configuration "huge"'):
        Settings(configuration="huge")
    with pytest.raises(FileNotFoundError, match="or one of: light, tiny"):
        training_settings("none")
    with pytest.raises(FileNotFoundError, match="no images"):
        sharp_images(tmp_path, ["*.png"])
    with pytest.raises(FileNotFoundError, match='no weights "none"'):
        weights_path("none")


def test_threads_change_nothing(tmp_path):
    alone, together = (
        [
            step.loss
            for step in train(replace(FEW, validate_every=9, threads=n), {}, tmp_path / f"{n}")
        ]
        for n in (0, 2)
    )
    assert alone == together


def test_in_half_the_bits_a_training_stays_finite_and_transforms_keep_all_of_theirs(
    tmp_path, monkeypatch
):
    halves, transformed, forward = set(), set(), ops.forward

    def seen(thing, *rest, **options):
        transformed.add(thing.dtype)
        return forward(thing, *rest, **options)

    def convolved(self, x):
        image, features = pyramid(self, x)
        halves.add(image.dtype)
        return image, features

    pyramid = Pyramid.forward
    monkeypatch.setattr(ops, "forward", seen)
    monkeypatch.setattr(Pyramid, "forward", convolved)
    settings = replace(FEW, iterations=3, log_every=1, validate_every=9, bfloat16=True)
    steps = train(settings, {}, tmp_path)
    assert all(np.isfinite(next(steps).loss) for _ in range(2))
    steps.close()
    assert halves == {torch.bfloat16}
    assert transformed == {torch.float32}


def test_dense_stages_learn_on_top_of_a_network_that_stays_as_it_is(tmp_path):
    list(train(FEW, {}, tmp_path / "small"))
    start = tmp_path / "small" / "weights.safetensors"
    before = load_network(start, digest(start))[0].state_dict()
    settings = replace(
        FEW, configuration="dense", learned="dense", images_first=2, fixed=0.0, bfloat16=True,
        decibels=True,
    )  # fmt: skip
    for stopped in (3, 4):
        steps = train(
            replace(settings, iterations=stopped, decay=1), {}, tmp_path / "out", start=start
        )
        assert all(np.isfinite(step.loss) for step in steps if step.iteration)
    # With given kernels at first, then with those that the others find.
    log = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    known = ["psnr out given" in json.loads(line)["numbers"] for line in log[1:]]
    assert known == [True, True, False, False]
    path = tmp_path / "out" / "weights.safetensors"
    after = load_network(path, digest(path))[0].state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    fresh = torch.manual_seed(settings.seed) and Network(DENSE).state_dict()
    moved = [name for name in after if not torch.equal(after[name], fresh[name].half().float())]
    assert {name.split(".")[0] for name in set(moved) - set(before)} == {"dense"}
    assert len(moved) > len(after) / 2
    # Half the bits are kept of these.
    kept = load_file(path)
    assert {kept[name].dtype for name in kept if name not in before} == {torch.float16}
    assert {kept[name].dtype for name in before} == {torch.float32}


def test_nothing_is_learned_where_there_are_no_dense_stages():
    with pytest.raises(ValueError, match='learned is "dense", and small has no dense stages'):
        replace(FEW, learned="dense")
    with pytest.raises(ValueError, match='learned is "some" and must be one of: all, dense'):
        replace(FEW, learned="some")


@pytest.mark.parametrize("name", ["light", "tiny"])
def test_packaged_settings_are_read(name):
    words = tomllib.loads(training_settings(name).read_text("utf-8"))
    assert Settings.of(words["training"]).configuration == name


def test_training_on_images_of_a_folder(tmp_path):
    from PIL import Image

    random = np.random.default_rng(0)
    (tmp_path / "mine").mkdir()
    for i in range(3):
        light = (255 * random.random((70, 80))).astype(np.uint8)
        Image.fromarray(light).save(tmp_path / "mine" / f"{i}.png")
    values = {k: v for k, v in vars(FEW).items() if k not in ("sizes", "without", "photons")}
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items()]
    settings = tmp_path / "mine.toml"
    settings.write_text(
        "[training]\nsizes = [[32, 9]]\n" + "\n".join(lines) + '\n[[images]]\nfolder = "mine"\n'
    )
    steps = list(train_network(settings, tmp_path / "out", iterations=2))
    assert [step.iteration for step in steps] == [1, 2]
    first, *rest = line_of(steps[-1]).splitlines()
    assert first.startswith("2: loss ")
    assert len(rest) == 2
    assert rest[0].startswith("  100 photons: PSNR ")


def test_where_only_pairs_are_known_kernels_count_by_what_they_explain():
    random = np.random.default_rng(0)
    sharp = made(2, 80, 3).astype(np.float32)
    kernel = made_kernels(1, 9, 2, shares={"gaussian": 1.0})[0]
    seen = [
        200 + 500 * blurred(torch.from_numpy(s)[None, None], torch.from_numpy(kernel)[None, None])
        for s in sharp
    ]
    images = [
        (s[0, 0].numpy() + random.normal(size=s.shape[-2:]), 3 * t[4:-4, 4:-4])
        for s, t in zip(seen, sharp, strict=True)
    ]
    pairs = crops_of_pairs(images, 48, each=3, seed=0)
    assert pairs.seen.shape == (6, 48, 48)
    one, two = (paired_batch(pairs, Recipe(count=3, side=40, kernel=9), 5, 0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(_tensors(one), _tensors(two), strict=True))
    assert not one.known
    true = torch.from_numpy(kernel)[None, None].expand(3, -1, -1, -1)
    right = [float(loss([Pair(one.sharp, k)], one)) for k in (true, one.first.roll(2, -1))]
    assert right[0] < right[1]
    # Sharp images come in any gain and offset: here the same light as the blurred ones.
    explained = blurred(one.sharp, true.flip(-1).contiguous())
    assert float((explained - one.clean).abs().mean()) < 0.05

    with pytest.raises(ValueError, match="both must show the same place"):
        crops_of_pairs([(sharp[0], sharp[0][1:])], 48, each=1, seed=0)
    with pytest.raises(ValueError, match="no pair has a crop of 99 × 99 px"):
        crops_of_pairs(images, 99, each=1, seed=0)


def test_optics_make_kernels_of_their_lens():
    fine, coarse = (
        made_kernels(12, 31, 0, scales=(s, 1.1 * s), shares={"lens": 1.0}) for s in (0.1, 0.3)
    )
    assert np.median(fine.max((1, 2))) < 0.5 * np.median(coarse.max((1, 2)))
    with pytest.raises(ValueError, match='no family of kernels "lense"; there are: lens,'):
        Settings(families=(("lense", 1.0),))


def test_training_with_optics_and_pairs(tmp_path):
    from PIL import Image

    for name in ("wide", "clear", "other"):
        (tmp_path / name).mkdir()
    Image.new("L", (72, 72)).save(tmp_path / "other" / "z.png")
    for i, field in enumerate(made(2, 72, 0).astype(np.float32)):
        grey = Image.fromarray((200 * field.clip(0, 1)).astype(np.uint8))
        grey.save(tmp_path / "clear" / f"{i}.png")
        grey.resize((36, 36)).resize((72, 72)).save(tmp_path / "wide" / f"{i}.png")
    values = {"configuration": "small", "batch": 2, "warm_up": 2, "objects": 4, "kernels": 8}
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items()]
    settings = tmp_path / "mine.toml"
    head = "[optics]\nna = 1.2\nwavelength = 0.52\npixel_size = 0.1\n[training]\n"
    pairs = '[[pairs]]\nblurred = "wide"\nsharp = "clear"\n'
    settings.write_text(head + "sizes = [[32, 9]]\npaired = 1.0\nlog_every = 1\n"
                        + "\n".join(lines) + "\n" + pairs)  # fmt: skip
    steps = list(train_network(settings, tmp_path / "out", iterations=2))
    assert "pairs " in line_of(steps[-1]).splitlines()[0]
    settings.write_text(settings.read_text().replace("pixel_size = 0.1\n", ""))
    with pytest.raises(ValueError, match=r"optics 1 of mine\.toml lack pixel_size"):
        list(train_network(settings, tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="no names in common"):
        image_pairs(tmp_path / "wide", tmp_path / "other")


def _tensors(drawn):
    return [value for value in vars(drawn).values() if isinstance(value, torch.Tensor)]
