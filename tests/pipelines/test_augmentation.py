"""Augmentation: timm's operations, the same in every frame, drawn from the generator alone."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.augmentation import AugmentationConfig, apply_operations, augment, draw_crop, draw_operations
from pipelines.resized_crop import draw_box
from tests.pipelines.media import moving_square

CONFIG = AugmentationConfig()
WHOLE = AugmentationConfig(rand_augment=None, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def augmented(picture_THWC: np.ndarray, config: AugmentationConfig, seed: int, *, size: int = 32) -> np.ndarray:
    out_THWC = np.full((len(picture_THWC), size, size, 3), 7, np.uint8)
    augment(picture_THWC, config, rng(seed), out_THWC=out_THWC)
    return out_THWC


def test_all_frames_of_a_clip_are_changed_alike_and_clips_differently() -> None:
    still_THWC = np.repeat(moving_square(1, height=48, width=64), 3, axis=0)
    clips = [augmented(still_THWC, CONFIG, seed) for seed in range(30)]
    assert all((clip_THWC == clip_THWC[0]).all() for clip_THWC in clips)
    assert len({clip_THWC.tobytes() for clip_THWC in clips}) == 30


def test_what_is_drawn_depends_on_the_generator_alone_and_leaves_the_global_numbers_as_they_were() -> None:
    picture_THWC = moving_square(2)
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = augmented(picture_THWC, CONFIG, 5)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(2)
    np.random.seed(2)
    assert np.array_equal(augmented(picture_THWC, CONFIG, 5), first)


def test_the_operations_are_those_of_timm_with_the_settings_of_videomae() -> None:
    from timm.data.auto_augment import rand_augment_transform

    picture_THWC = moving_square(2)
    settings = {"translate_const": 28, "interpolation": Image.Resampling.BICUBIC}
    theirs = rand_augment_transform(CONFIG.rand_augment, settings)
    for seed in range(60):
        again = rng(seed)
        timm_seed, chosen = int(again.integers(2**63)), again.integers(len(theirs.ops), size=theirs.num_layers)
        ours_THWC = apply_operations(picture_THWC, draw_operations(CONFIG.rand_augment, rng(seed)))
        for frame_HWC, our_HWC in zip(picture_THWC, ours_THWC, strict=True):
            random.seed(timm_seed)
            image = Image.fromarray(frame_HWC)
            for index in chosen:
                image = theirs.ops[index](image)
            assert np.array_equal(np.asarray(image), our_HWC)


def test_half_of_four_operations_are_left_out() -> None:
    counts = [len(draw_operations(CONFIG.rand_augment, rng(seed))) for seed in range(400)]
    assert set(counts) == set(range(5)) and abs(np.mean(counts) - 2) < 0.2
    assert {len(draw_operations("rand-n3-p1", rng(seed))) for seed in range(20)} == {3}


@pytest.mark.parametrize("words", [f"rand-m{m}-mmax20{more}-n15-p1" for m in (0, 10, 20) for more in ("", "-inc1")])
def test_the_weakest_and_the_strongest_operations_can_be_applied(words: str) -> None:
    for seed in range(4):
        apply_operations(moving_square(1), draw_operations(words, rng(seed)))


def test_the_crop_is_a_random_resized_one() -> None:
    for seed in range(10):
        expected = draw_box(60, 90, CONFIG.area, CONFIG.aspect, rng(seed))
        assert draw_crop(60, 90, CONFIG, rng(seed)).box == expected


def test_half_of_the_clips_are_mirrored_or_none_or_all() -> None:
    picture_THWC = moving_square(2, height=32, width=32)
    assert np.array_equal(augmented(picture_THWC, WHOLE, 0), picture_THWC)
    mirrored = AugmentationConfig(rand_augment=None, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=1.0)
    assert np.array_equal(augmented(picture_THWC, mirrored, 0), picture_THWC[:, :, ::-1])
    assert 0.42 < np.mean([draw_crop(60, 60, CONFIG, rng(seed)).flip for seed in range(400)]) < 0.58


@pytest.mark.parametrize(
    "words",
    ["augmix-m5", "rand-m7.5", "rand-mfoo", "rand-n0", "rand-p2", "rand-m7-m9", "rand-m7-inc2", "rand-w0", "", "rand-"],
)
def test_words_that_timm_would_misread_or_ignore_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match="must read like rand-m7-n4-mstd0.5-inc1"):
        AugmentationConfig(rand_augment=words)


@pytest.mark.parametrize("fields", [{"area": (0.0, 1.0)}, {"area": (0.5, 0.2)}, {"aspect": (2.0, 1.0)}, {"flip": 1.1}])
def test_a_config_that_cannot_work_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        AugmentationConfig(**fields)


def test_a_process_that_augments_does_not_load_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "import pipelines.labelled_reader\n"
        "from pipelines.augmentation import draw_operations\n"
        "draw_operations('rand-n9-p1', np.random.default_rng(0))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
