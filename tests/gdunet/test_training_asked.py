"""What a training is asked for is checked, and nothing of the user's is left out silently."""

import re

import numpy as np
import pytest
import torch
from test_gdunet_training import FEW, SMALL
from typer.testing import CliRunner

from napari_deblur import training
from napari_deblur.cli import app
from napari_deblur.gdunet import synthesis
from napari_deblur.gdunet.asked import asked, of_optics, typed
from napari_deblur.gdunet.card import Card
from napari_deblur.gdunet.checkpoints import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_tensors,
)
from napari_deblur.gdunet.cutting import Each, cut_and_parted
from napari_deblur.gdunet.held_back import parted
from napari_deblur.gdunet.kernels import made_kernels, widths
from napari_deblur.gdunet.network import Configuration, Network
from napari_deblur.gdunet.objects import crops, crops_of, made
from napari_deblur.gdunet.pairs import crops_of_pairs
from napari_deblur.gdunet.ranges import RULES
from napari_deblur.gdunet.schedule import Settings
from napari_deblur.gdunet.synthesis import Bank, Recipe, batch
from napari_deblur.gdunet.training import train
from napari_deblur.gdunet.validation import banks
from napari_deblur.opening import open_stack
from napari_deblur.training import image_pairs, sharp_images, train_network

WRONG = [
    ("configuration", 3, 'configuration is 3 and must be a name, such as "tiny"'),
    ("without", "attention", 'must be a list of parts, such as ["attention"]'),
    ("without", ["bpam"], "parts that can be left out are attention, gradients, noise, unfolding"),
    ("kernel_step", "foo", 'kernel_step is "foo" and must be one of: preconditioned, gradient,'),
    ("seed", -1, "seed is -1 and must be a whole number, 0 or more"),
    ("iterations", True, "iterations is true and must be a whole number, 1 or more"),
    ("batch", "two", 'batch is "two" and must be a whole number, 1 or more'),
    ("sizes", [], "sizes is [] and must be a list of [side, kernel] in whole pixels"),
    ("sizes", [64, 15], "sizes is [64, 15] and must be a list of [side, kernel]"),
    ("sizes", [[30, 31]], "sides 16 or more and at least twice the kernel"),
    ("sizes", [[64, 16]], "kernels odd and 5 or more"),
    ("sizes", [[64, 15.0]], "such as [[96, 31], [80, 21]]"),
    ("rate", float("nan"), "rate is NaN and must be a number above 0"),
    ("warm_up", 0, "warm_up is 0 and must be a whole number, 1 or more"),
    ("average", 1.5, "average is 1.5 and must be a number from 0 to less than 1"),
    ("made", 2, "made is 2 and must be a number from 0 to 1"),
    ("kernels", 0, "kernels is 0 and must be a whole number, 1 or more"),
    ("scales", [0.4, 0.1], "scales is [0.4, 0.1] and must be [least, most], both above 0"),
    ("families", "lens", 'families is "lens" and must be a list of [family, share]'),
    ("families", [["lens", 0]], "not all shares 0"),
    ("photons", [0, 100], "photons is [0, 100] and must be [least, most], both above 0"),
    ("photons", [500, 100], "the smaller one first, such as [30, 5000]"),
    ("photons", "x", 'photons is "x" and must be'),
    ("bfloat16", 1, "bfloat16 is 1 and must be true or false"),
    ("threads", -1, "threads is -1 and must be"),
    ("log_every", 0, "log_every is 0 and must be"),
    ("validate_every", 0, "validate_every is 0 and must be"),
    ("decay", 50_000, "decay is 50000 and must be no more than iterations, which is 40000"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_setting_is_named_with_what_is_allowed(name, value, words):
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        Settings.of({name: value})
    assert "\n" not in str(raised.value)


def test_every_setting_has_a_rule():
    assert set(RULES) == set(Settings.__dataclass_fields__)


@pytest.mark.parametrize("wrong", [{"without": ("bpam",)}, {"kernel_step": "foo"}])
def test_a_network_has_no_misspelt_parts(wrong):
    with pytest.raises(ValueError, match=r'of a network has "(bpam|foo)" and can have: '):
        Configuration(**wrong)


def test_a_short_training_needs_no_decay():
    assert Settings.of({"iterations": 4000}).decay == 800
    assert Settings.of({"iterations": 1}).decay == 1
    assert Settings.of({}).decay == Settings.decay == 8000
    assert Settings.of({"iterations": 4000, "decay": 2000}).decay == 2000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sizes=[[64,15]]", ((64, 15),)),
        ("sizes=(64, 15),(56, 11)", ((64, 15), (56, 11))),
        ("photons=100,500", (100, 500)),
        ("photons=[100, 500]", (100, 500)),
        ("without=attention,noise", ("attention", "noise")),
        ("without=", ()),
        ('families=[["lens", 0.7], ["point", 0.3]]', (("lens", 0.7), ("point", 0.3))),
        ("configuration=tiny", "tiny"),
        ("rate=1e-4", 1e-4),
        ("bfloat16=True", True),
    ],
)
def test_every_setting_can_be_given_on_the_command_line(text, found):
    name, _, value = text.partition("=")
    assert getattr(Settings.of(typed({name: value})), name) == found


def _run(*words):
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_line_says_what_is_wrong_and_what_can_be_asked(tmp_path):
    result = _run("tiny", tmp_path, "--set", "kernel_step=foo")
    assert result.exit_code == 1
    assert 'kernel_step is "foo" and must be one of' in result.output
    result = _run("tiny", tmp_path, "--set", "families=lens")
    assert 'families is ["lens"] and must be a list of [family, share]' in result.output
    said = " ".join(_run("--help").output.split())
    for words in ("[[images]]", "[[pairs]]", "[optics]", "[training]", "docs/howto/train.md"):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training\n", r"mine\.toml is no TOML file: "),
        ('images = "mixed"', r"images of mine\.toml must be headed \[\[images\]\]"),
        ('[images]\nfolder = "x"', r"must be headed \[\[images\]\], with a line for each of: fold"),
        ('[[images]]\nfolder = "x"\npatterns = "*.tif"', r'patterns of images 1 .* is "\*\.tif"'),
        ('[[images]]\nfolder = "x"\nshare = 0', "share of images 1 .* must be a number above 0"),
        ("[[images]]\nfolder = 3", "folder of images 1 of .* is 3 and must be the path"),
        ("training = 3", r"must be a part of its own, headed \[training\]"),
        ("start = 3", "must be the name or path of weights"),
        ('[optics]\nna = "1.2"\nwavelength = 0.5\npixel_size = 0.1', 'na of .* is "1.2" and must'),
    ],
)
def test_a_file_says_what_is_wrong_with_it(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        asked(path)


def test_optics_are_in_micrometres():
    found = of_optics({"na": 1.2, "wavelength": 0.52, "pixel_size": 0.1})
    assert found["scales"][0] < 1.2 * 0.1 / 0.52 < found["scales"][1]
    with pytest.raises(ValueError, match=r"wavelength is 231 and must lie .* in µm"):
        of_optics({"na": 1.2, "wavelength": 0.52, "pixel_size": 100})


def _picture(path, seed=0):
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    light = np.random.default_rng(seed).random((50, 60))
    Image.fromarray((255 * light).astype(np.uint8)).save(path)


def test_what_is_no_image_is_passed_over_and_named(tmp_path):
    for folder in ("wide", "clear"):
        for i in range(2):
            _picture(tmp_path / folder / f"{i}.png")
        for name in (".DS_Store", "notes.txt"):
            (tmp_path / folder / name).write_text("nothing")
    _picture(tmp_path / "wide" / "alone.png")
    said = []
    assert len(sharp_images(tmp_path / "wide", ["*"])) == 3
    assert len(image_pairs(tmp_path / "wide", tmp_path / "clear")) == 2
    assert training._names_of_pairs(tmp_path / "wide", tmp_path / "clear", said.append) == [
        "0.png",
        "1.png",
    ]
    assert [line.replace(str(tmp_path), "") for line in said] == [
        "/wide: passed over, no images: notes.txt",
        "/clear: passed over, no images: notes.txt",
        "/wide: passed over, without a partner of the same name: alone.png",
    ]
    with pytest.raises(
        FileNotFoundError, match=r"no images with .* \*\.txt in .*: notes\.txt can't"
    ):
        sharp_images(tmp_path / "wide", ["*.txt"])
    with pytest.raises(FileNotFoundError, match="no folder"):
        sharp_images(tmp_path / "none", ["*"])


class Counted:
    """A stack of 40 frames, 2 channels and 3 planes, each of one value; counts what is read."""

    shape, dtype, read = (40, 2, 3, 8, 9), np.dtype(np.float32), 0

    def __getitem__(self, where):
        t, c, z = where[:3]
        block = np.full((z.stop - z.start, 8, 9), 1000 * c + 3 * t + z.start, np.float32)
        self.read += block.size
        return block


def test_of_a_large_stack_a_few_planes_of_each_channel_are_read(monkeypatch, tmp_path):
    _picture(tmp_path / "movie.png")
    movie = Counted()
    monkeypatch.setattr(training, "open_stack", lambda file: open_stack(movie, axes="tczyx"))
    planes = sharp_images(tmp_path, ["movie.png"])
    assert [float(plane.mean()) for plane in planes] == [
        1000 * c + i for c in (0, 1) for i in range(0, 120, 15)
    ]
    assert movie.read == 16 * 8 * 9


def test_colours_become_their_mean_without_what_is_transparent(tmp_path):
    from PIL import Image

    light = np.random.default_rng(0).integers(0, 255, (40, 50, 4)).astype(np.uint8)
    Image.fromarray(light).save(tmp_path / "a.png")
    (plane,) = sharp_images(tmp_path, ["*"])
    np.testing.assert_allclose(plane, light[..., :3].mean(axis=2))


def test_devices_and_folders_that_are_none_are_told_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match='no device "gpu" here: take auto or one of cpu'):
        next(train_network("tiny", tmp_path, device="gpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='no device "cuda" here'):
            next(train_network("tiny", tmp_path, device="cuda"))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match='file" is a file: give a folder'):
        next(train_network("tiny", file))


def _state():
    network, average = Network(SMALL), Network(SMALL)
    optimiser = torch.optim.AdamW(network.parameters())
    return Checkpoint(network, average, optimiser, vars(FEW))


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_checkpoint_is_named_with_a_way_out(tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, _state(), 3)
    assert load_checkpoint(path, _state()) == 3
    content = path.read_bytes()
    if damage == "foreign":
        save_tensors(path, {"a": torch.zeros(3)}, {})
    else:
        path.write_bytes(content[:-100] if damage == "cut" else b"")
    with pytest.raises(ValueError, match=r"remove it to begin anew, or choose another folder") as e:
        load_checkpoint(path, _state())
    assert str(path) in str(e.value)


def test_a_training_that_is_done_says_so(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.safetensors", _state(), FEW.iterations)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    said = []
    assert not list(train(FEW, {}, tmp_path, say=said.append))
    assert len(said) == 1
    assert "trained for 4 iterations already" in said[0]
    assert "its weights are weights.safetensors" in said[0]


def test_equal_weights_are_equal_files(tmp_path):
    facts = {f"fact {i}": str(i) for i in range(8)}
    tensors = {"b": torch.arange(5.0), "a": torch.ones(2, 3, dtype=torch.float16)}
    contents = set()
    for _ in range(4):
        save_tensors(tmp_path / "a.safetensors", tensors, dict(reversed(facts.items())))
        contents.add((tmp_path / "a.safetensors").read_bytes())
    assert len(contents) == 1
    from safetensors import safe_open

    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == facts
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)


@pytest.mark.parametrize("sigma", [2.0, 3.5])
def test_a_sharp_image_of_a_pair_keeps_its_light(sigma):
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(1)
    sharp = made(3, 120, 7).astype(np.float64)
    pairs = [
        (50 + 400 * gaussian_filter(s, sigma) + random.normal(size=s.shape), 1000 * s + 7)
        for s in sharp
    ]
    found = crops_of_pairs(pairs, 120, each=1, seed=0)
    for (blurred, clear), scaled in zip(pairs, found.sharp, strict=True):
        low, high = np.percentile(blurred, (0.5, 99.9))
        assert np.ptp(scaled) / np.ptp(clear) == pytest.approx(0.4 / (high - low), rel=0.06)


def test_a_pixel_that_is_no_number_costs_no_image():
    random = np.random.default_rng(0)
    image = random.random((90, 90))
    image[45, 45] = np.nan
    found = crops([image], 60, 0, each=4)
    assert len(found)
    assert np.isfinite(found).all()
    image[:, :50] = np.inf
    assert not len(crops([image], 60, 0, each=4))
    image = random.random((90, 200))
    image[:, :60] = np.nan  # what a stitched image doesn't cover
    assert len(crops([image], 60, 0, each=4))
    assert not len(crops([np.full((90, 90), np.nan)], 60, 0, each=4))

    sharp = made(1, 80, 0)[0].astype(np.float32)
    seen = sharp + 0.01 * random.standard_normal(sharp.shape).astype(np.float32)
    seen[40, 40], sharp[7, 7] = np.nan, np.inf
    pairs = crops_of_pairs([(seen, sharp)], 60, each=4, seed=0)
    assert np.isfinite(pairs.seen).all()
    assert np.isfinite(pairs.sharp).all()
    assert np.isfinite(pairs.noise).all()


def _cut(_, image):
    """One crop for each image, but for flat ones."""
    return [float(image[0].mean())] if np.ptp(image[0]) else []


def test_images_without_a_crop_are_told_and_never_all_that_is_learned_or_held():
    said = []
    images = [(np.full((20, 20), 7.0),), *[(np.eye(20) * i,) for i in range(1, 3)]]
    learnt, held = cut_and_parted(images, 20, _cut, ("sharp image", "mine"), said.append)
    assert (learnt, held) == ([0.1], [0.05])
    assert said[0].startswith("2 of 3 sharp images of mine used, of these 1 held back to validate")
    assert "the others are smaller than 20 × 20 px, flat" in said[0]
    learnt, held = cut_and_parted(images[:2], 20, _cut, ("sharp image", ""), said.append)
    assert learnt == held == [0.05]
    assert "1 of 2 sharp images used, validated on too" in said[1]
    wide = [(np.arange(60.0) * np.ones((20, 1)),)]
    learnt, held = cut_and_parted(wide, 20, _cut, ("pair", ""), said.append)
    assert (learnt, held) == ([19.5], [49.5])
    assert said[2] == "1 of 1 pairs used, an end of it held back to validate on"
    with pytest.raises(ValueError, match=r"no pair has a crop of 20 × 20 px .* none of mine: "):
        cut_and_parted(images[:1], 20, _cut, ("pair", "mine"), said.append)


def test_planes_of_a_file_are_learned_or_held_back_together(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    read = []
    fields = made(6, 60, 0).astype(np.float32)
    for name, planes in (("a", fields[:3]), ("b", fields[3:])):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", planes, photometric="minisblack", metadata={"axes": "ZYX"}
        )

    def planes_of(file):
        read.append(file.name)
        return training._planes(file)

    files = Each(planes_of, sorted(tmp_path.glob("*.tif")))
    said = []
    bank, _, _ = banks(FEW.of({**vars(FEW), "made": 0.5}), {"mine": (1.0, files)}, (), said.append)
    assert said == ["2 of 2 sharp images of mine used, of these 1 held back to validate on"]
    assert read == ["a.tif", "b.tif"]  # one by one, once
    learnt = crops_of(1, fields[3:], 40, FEW.seed, each=8)
    assert len(learnt) == 3
    np.testing.assert_array_equal(bank.objects[1][1], learnt)
    # Of a single one an end, of all of its planes.
    (before,), (after,) = parted([(fields[:, :, :50],)], 20)
    np.testing.assert_array_equal(np.concatenate((before[0], after[0]), axis=1), fields[:, :, :50])


def test_a_card_names_folders_that_were_learned_from(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    materials = training._materials("sharp", [tmp_path / "a.zarr"])
    card = Card(tmp_path, FEW, "", None, materials, "cpu", "napari-deblur")
    assert f"| sharp | {tmp_path.name}/a.zarr | a folder |" in card.text()


def test_what_is_held_back_of_images_and_of_pairs_is_not_learned():
    random = np.random.default_rng(0)
    one, *others = [random.random((60, 60)) for _ in range(4)]
    images = {"mine": (2.0, [one, *others[:1]])}
    pairs = [(a + 0.01, a) for a in others[1:]]
    settings = FEW.of({**vars(FEW), "made": 0.5})
    said = []
    bank, several, cases = banks(settings, images, pairs, said.append)
    assert [share for share, _ in bank.objects] == [0.5, 0.5]
    assert len(bank.objects[1][1]) == 1
    assert set(cases) == {"100 photons", "1000 photons", "pairs"}
    learnt = np.sort(several.sharp.reshape(len(several.sharp), -1), axis=1)
    for case in cases["pairs"]:
        assert not case.known
        for item in case.sharp.numpy():
            assert not any(np.isin(item.ravel()[:9], other).all() for other in learnt)
    assert said == [
        "2 of 2 sharp images of mine used, of these 1 held back to validate on",
        "2 of 2 pairs used, of these 1 held back to validate on",
    ]
    with pytest.raises(ValueError, match=r"made is 1 .* none of the images would be learned"):
        banks(FEW.of({**vars(FEW), "made": 1}), images, ())
    for paired, ignored in ((0, "pairs"), (1, "images")):
        with pytest.raises(ValueError, match=f"paired is {paired}: none of the {ignored} would"):
            banks(FEW.of({**vars(FEW), "paired": paired}), images, pairs)


def test_kernels_that_are_wide_or_do_not_fit():
    wide = np.zeros((3, 15, 15), np.float32)
    for i, n in enumerate((11, 13, 15)):
        wide[i, 7 - n // 2 : 8 + n // 2, 7 - n // 2 : 8 + n // 2] = 1 / n**2
    bank = Bank([(1.0, made(2, 64, 0))], wide)
    drawn = batch(bank, Recipe(count=2, side=40, kernel=15, widest=2.0), 0, 0)
    assert (drawn.kernel[:, 0, 1, 1] == 0).all()  # the narrowest, as none is narrow
    with pytest.raises(ValueError, match="none of 3 kernels fits into 9 px: make more kernels"):
        bank.fitting(9, 99.0)
    assert list(bank.fitting(13, 99.0)) == [0, 1]
    assert list(bank.fitting(15, 99.0)) == [0, 1, 2]


def test_kernels_of_a_lens_fit_into_all_sizes():
    lens = made_kernels(40, 31, 0, scales=(0.2, 0.25), shares={"lens": 1.0})
    bank = Bank([(1.0, made(2, 64, 0))], lens)
    for size in (21, 25, 31):
        assert len(bank.fitting(size, 99.0)) > 20


def test_kernels_are_looked_over_once(monkeypatch):
    seen = []
    monkeypatch.setattr(
        synthesis, "widths", lambda kernels: seen.append(len(kernels)) or widths(kernels)
    )
    bank = Bank([(1.0, made(2, 64, 0))], made_kernels(50, 15, 0))
    for number in range(3):
        batch(bank, Recipe(count=2, side=40, kernel=15), number, 0)
    assert seen.count(50) == 1
