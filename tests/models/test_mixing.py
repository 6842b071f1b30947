from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.mixing import Mixing, real_rows_first
from tests.models.samples import fine_tuning_config

FRAMES, SIZE = 4, 32


def mixed(clips: Tensor, targets: Tensor, *, seed: int = 0, **options: float) -> tuple[Tensor, Tensor]:
    mixing = Mixing(fine_tuning_config(**options))
    torch.manual_seed(seed)
    return mixing(clips, targets)


def plain_clips(values: list[float]) -> Tensor:
    """One clip of each value."""
    return torch.tensor(values)[:, None, None, None, None].expand(-1, FRAMES, SIZE, SIZE, 3).clone()


def test_mixup_takes_of_the_target_what_it_takes_of_the_pixels():
    clips, targets = plain_clips([0.0, 1.0, 5.0]), torch.eye(3)
    shares = set()
    for seed in range(5):
        clip, target = mixed(clips, targets, seed=seed, mixup=0.8)
        for row, value in enumerate((0.0, 1.0, 5.0)):
            own, other = target[row, row], target[row, row - 1]
            expected = own * value + other * (0.0, 1.0, 5.0)[row - 1]
            torch.testing.assert_close(clip[row], expected.expand_as(clip[row]))
        shares.add(target[0, 0].item())
    assert len(shares) == 5


def test_cutmix_cuts_the_same_box_of_rows_and_columns_in_all_frames_and_counts_its_area():
    clips, targets = plain_clips([0.0, 1.0, 2.0]), torch.eye(3)
    areas = []
    for seed in range(10):
        clip, target = mixed(clips, targets, seed=seed, cutmix=1.0)
        is_cut = clip != clips
        assert torch.equal(is_cut, is_cut[:1, :1, :, :, :1].expand_as(is_cut))
        box = is_cut[0, 0, :, :, 0]
        assert int(box.sum()) == int(box.any(1).sum()) * int(box.any(0).sum())
        areas.append(box.float().mean().item())
        torch.testing.assert_close(target[1], torch.tensor([areas[-1], 1 - areas[-1], 0.0]))
        assert set(clip[1].unique().tolist()) <= {0.0, 1.0}
    assert len(set(areas)) > 5


@pytest.mark.parametrize("options", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_mixing_keeps_the_sum_of_soft_targets(options):
    targets = torch.rand(6, 3).softmax(1)
    for seed in range(5):
        _, target = mixed(torch.randn(6, FRAMES, SIZE, SIZE, 3), targets, seed=seed, **options)
        torch.testing.assert_close(target.sum(1), torch.ones(6))


def test_the_options_say_how_often_which_mix_is_drawn():
    clips, targets = plain_clips([0.0, 1.0]), torch.eye(2)
    counts = {"none": 0, "mixup": 0, "cutmix": 0}
    for seed in range(300):
        clip, _ = mixed(clips, targets, seed=seed, mixup=0.8, cutmix=1.0, mix_probability=0.5, cutmix_share=0.8)
        kinds = {0: "none", 1: "mixup"} if len(clip[0].unique()) == 1 else {0: "none", 1: "cutmix"}
        counts[kinds[int(not torch.equal(clip, clips))]] += 1
    # A cutmix of a box without area, or of the whole frame, looks like one of the others.
    assert counts["none"] == pytest.approx(150, abs=40)
    assert counts["mixup"] == pytest.approx(30, abs=25)
    assert counts["cutmix"] == pytest.approx(120, abs=40)


def test_erasing_puts_noise_in_one_box_of_all_frames_of_some_clips():
    clips = torch.full((200, FRAMES, SIZE, SIZE, 3), 9.0)
    clip, target = mixed(clips, torch.eye(200), erasing=0.25)
    assert torch.equal(target, torch.eye(200))
    is_erased = (clip != 9).flatten(1).any(1)
    assert int(is_erased.sum()) == pytest.approx(50, abs=20)
    boxes = set()
    for one in clip[is_erased]:
        box = one[0, :, :, 0] != 9
        assert torch.equal(one != 9, box[None, :, :, None].expand_as(one))
        rows, columns = int(box.any(1).sum()), int(box.any(0).sum())
        assert int(box.sum()) == rows * columns
        assert 0.015 < rows * columns / SIZE**2 < 0.36
        boxes.add((rows, columns))
        noise = one[:, box]
        assert len(noise.unique()) > 0.99 * noise.numel()  # of every pixel, channel and frame its own
    assert len(boxes) > 10


def test_the_input_is_left_as_it_was():
    clips, targets = torch.randn(4, FRAMES, SIZE, SIZE, 3), torch.eye(4)
    before = clips.clone(), targets.clone()
    mixed(clips, targets, mixup=0.8, erasing=1.0)
    assert torch.equal(clips, before[0])
    assert torch.equal(targets, before[1])


def test_torchs_generator_decides_all():
    clips, targets = torch.randn(4, FRAMES, SIZE, SIZE, 3), torch.eye(4)
    options = {"mixup": 0.8, "cutmix": 1.0, "erasing": 0.5}
    first, again, other = (mixed(clips, targets, seed=seed, **options) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_without_options_nothing_changes():
    clips, targets = torch.randn(4, FRAMES, SIZE, SIZE, 3), torch.eye(4)
    clip, target = mixed(clips, targets)
    assert torch.equal(clip, clips)
    assert torch.equal(target, targets)


@pytest.mark.parametrize(
    ("weights", "rows", "expected"),
    [
        ([0.5, 0.25, 0.25], [0, 1, 2], [0.5, 0.25, 0.25]),
        ([0.0, 0.5, 0.0, 0.25, 0.0], [1, 3, 3, 3, 3], [0.5, 0.25, 0.0, 0.0, 0.0]),
        ([0.0, 0.0], [0, 0], [0.0, 0.0]),
    ],
)
def test_rows_without_weight_give_their_places_to_the_last_that_has_one(weights, rows, expected):
    row, weight = real_rows_first(torch.tensor(weights))
    assert row.tolist() == rows
    assert weight.tolist() == expected
