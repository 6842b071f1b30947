"""Numbers of a reconstruction, against oracles made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.parts.reconstruction import PSNR_CEILING, Reconstruction, nearest_visible, psnr, reconstruct
from models.tokens import ClipGeometry

GEOMETRY = ClipGeometry(frames=4, height=8, width=8, tubelet=2, patch=4)  # 2 x 2 x 2 tokens
TARGETS = ("joint", "video_mae", "appearance", "motion")
VISIBLE = torch.tensor([0, 3, 5])
MASKED = [1, 2, 4, 6, 7]


def random_clip(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def cube(video: np.ndarray, token: int) -> np.ndarray:
    """Pixels [2, 4, 4, 3] of one token, cut out by hand."""
    t, h, w = token // 4, token // 2 % 2, token % 2
    return video[2 * t : 2 * t + 2, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4]


def normalized(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels / 255
    return (pixels - pixels.mean((0, 1, 2))) / (pixels.std((0, 1, 2), ddof=1) + 1e-6)


def truth(clip: np.ndarray, target: str) -> torch.Tensor:
    """What a perfect model predicts for the masked tokens."""
    rows = []
    for token in MASKED:
        first, second = normalized(cube(clip, token))
        halves = {
            "joint": (first, second - first),
            "video_mae": (first, second),
            "appearance": (first,),
            "motion": (second - first,),
        }
        rows.append(np.stack(halves[target]).ravel())
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def decibels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    errors = [np.square(np.asarray(a, float) - np.asarray(b, float)).ravel() for a, b in pairs]
    return 10 * np.log10(255**2 / np.concatenate(errors).mean())


def draw(clip: np.ndarray, predicted: torch.Tensor, target: str = "joint") -> Reconstruction:
    shown = torch.from_numpy(clip), VISIBLE, predicted, torch.tensor(MASKED)
    return reconstruct(*shown, geometry=GEOMETRY, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_a_perfect_prediction_draws_the_clip(target: str) -> None:
    clip = random_clip()
    result = draw(clip, truth(clip, target), target)
    frames = slice(0, None, 2) if target == "appearance" else slice(None)
    np.testing.assert_array_equal(result.drawn["model"][frames], clip[frames])
    assert result.psnr["model"] > 90
    assert all(value < 1e-9 for name, value in result.mse.items() if name.startswith("model/"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_prediction_of_zeros_is_the_zero_predictor(target: str) -> None:
    clip = random_clip()
    result = draw(clip, torch.zeros_like(truth(clip, target)), target)
    assert result.psnr["model"] == result.psnr["zero"]
    np.testing.assert_array_equal(result.drawn["model"], result.drawn["zero"])


@pytest.mark.parametrize("target", ["joint", "video_mae"])
def test_the_zero_predictor_has_the_error_of_each_cube_against_its_own_mean(target: str) -> None:
    clip = random_clip()
    cubes = [cube(clip, token) for token in MASKED]
    expected = decibels([(c, np.broadcast_to(c.mean((0, 1, 2)), c.shape)) for c in cubes])
    assert draw(clip, truth(clip, target), target).psnr["zero"] == pytest.approx(expected, abs=1e-4)


def test_the_appearance_target_is_compared_on_first_frames_alone() -> None:
    clip = random_clip()
    cubes = [cube(clip, token) for token in MASKED]
    expected = decibels([(c[0], np.broadcast_to(c.mean((0, 1, 2)), c[0].shape)) for c in cubes])
    result = draw(clip, truth(clip, "appearance"), "appearance")
    assert result.psnr["zero"] == pytest.approx(expected, abs=1e-4)
    assert (result.drawn["model"][1::2][result.masked[1::2]] == 128).all()


def test_the_motion_target_adds_its_difference_to_the_true_first_frame() -> None:
    clip = random_clip()
    result = draw(clip, truth(clip, "motion"), "motion")
    expected = decibels([(cube(clip, token)[1], cube(clip, token)[0]) for token in MASKED])
    assert result.psnr["zero"] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(result.drawn["zero"][0::2], clip[0::2])


def test_the_normalised_error_of_zeros_is_the_mean_square_of_the_target() -> None:
    clip = random_clip()
    wanted = truth(clip, "joint")
    result = draw(clip, wanted + 0.5)
    assert result.mse["zero/appearance"] == pytest.approx(float(wanted[:, :48].square().mean()), rel=1e-4)
    assert result.mse["zero/motion"] == pytest.approx(float(wanted[:, 48:].square().mean()), rel=1e-4)
    assert result.mse["model/motion"] == pytest.approx(0.25, rel=1e-4)


def test_the_nearest_cube_lends_its_content_under_the_masked_cubes_statistics() -> None:
    clip = random_clip()
    nearest = dict(zip(MASKED, nearest_visible(GEOMETRY, VISIBLE, torch.tensor(MASKED)).tolist(), strict=True))
    result = draw(clip, truth(clip, "joint"))
    raw, content = [], []
    for token, source in nearest.items():
        true = cube(clip, token) / 255
        drawn = normalized(cube(clip, source)) * (true.std((0, 1, 2), ddof=1) + 1e-6) + true.mean((0, 1, 2))
        content.append((np.clip(drawn, 0, 1) * 255, cube(clip, token)))
        raw.append((cube(clip, source), cube(clip, token)))
    assert result.psnr["nearest"] == pytest.approx(decibels(content), abs=1e-3)
    assert result.psnr["nearest_raw"] == pytest.approx(decibels(raw), abs=1e-4)
    for token, source in nearest.items():
        np.testing.assert_array_equal(cube(result.drawn["nearest_raw"], token), cube(clip, source))


def test_nearest_counts_frames_and_pixels_alike_and_breaks_ties_by_the_lowest_id() -> None:
    nearest = nearest_visible(GEOMETRY, VISIBLE, torch.tensor(MASKED))
    # Neighbours are 2 frames or 4 pixels apart. Token 1 is 2 from 5, token 4 is 2 from 0 and token 7 is 2 from 3;
    # token 2 is 4 from 0 and from 3; token 6 is 4.5 from 0 and from 3, and 5.7 from 5.
    assert nearest.tolist() == [5, 0, 0, 0, 3]
    assert nearest_visible(GEOMETRY, VISIBLE.flip(0), torch.tensor(MASKED)).tolist() == [5, 0, 0, 0, 3]


def test_visible_pixels_are_never_touched() -> None:
    clip = random_clip()
    result = draw(clip, truth(clip, "joint") + 1.0)
    for name, video in result.drawn.items():
        for token in VISIBLE.tolist():
            np.testing.assert_array_equal(cube(video, token), cube(clip, token), err_msg=name)
    assert result.masked.mean() == 5 / 8
    assert not cube(result.masked[..., None], 0).any() and cube(result.masked[..., None], 7).all()


def test_pixels_out_of_range_are_clipped_before_they_are_compared() -> None:
    clip = np.full((4, 8, 8, 3), 255, np.uint8)
    clip[0, 0, 7] = 0  # one black pixel gives token 1 a deviation to scale the excess with
    result = draw(clip, truth(clip, "joint") + 50)
    assert (result.drawn["model"] == 255).all()
    wrong, compared = 1, 5 * 2 * 4 * 4
    assert result.psnr["model"] == pytest.approx(10 * np.log10(compared / wrong), abs=1e-3)


def test_flat_cubes_are_drawn_as_they_are_by_every_predictor() -> None:
    clip = np.full((4, 8, 8, 3), 77, np.uint8)
    result = draw(clip, torch.zeros(5, 96))
    assert result.psnr == dict.fromkeys(("model", "zero", "nearest", "nearest_raw"), PSNR_CEILING)
    assert all((video == 77).all() for video in result.drawn.values())


def test_psnr_of_a_known_error() -> None:
    assert psnr(torch.full((4,), 10, dtype=torch.uint8), torch.zeros(4, dtype=torch.uint8)) == pytest.approx(
        20 * np.log10(25.5)
    )


def test_a_prediction_that_is_not_finite_or_of_another_shape_is_refused() -> None:
    clip = random_clip()
    with pytest.raises(ValueError, match="NaN"):
        draw(clip, truth(clip, "joint") * float("nan"))
    with pytest.raises(ValueError, match=r"\(5, 48\), target=joint has \(5, 96\)"):
        draw(clip, truth(clip, "motion"))


@pytest.mark.parametrize("tokens", [MASKED, list(range(8))])
@pytest.mark.parametrize("target", ["image_mae", "pixels"])
def test_a_perfect_prediction_draws_an_image_whatever_of_it_is_predicted(target: str, tokens: list[int]) -> None:
    geometry = ClipGeometry(frames=1, height=8, width=16, tubelet=1, patch=4)  # 2 x 4 patches
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 3), dtype=np.uint8)

    def patch(token: int) -> tuple[slice, ...]:
        h, w = token // 4, token % 4
        return slice(None), slice(4 * h, 4 * h + 4), slice(4 * w, 4 * w + 4)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (image / 255 - mean) / std
    rows = [wanted[patch(token)] for token in tokens]
    if target == "image_mae":
        rows = [(row - row.mean()) / np.sqrt(row.var(ddof=1) + 1e-6) for row in rows]
    predicted = torch.tensor(np.stack(rows).reshape(len(rows), -1), dtype=torch.float32)
    shown = torch.from_numpy(image), VISIBLE, predicted, torch.tensor(tokens)
    result = reconstruct(*shown, geometry=geometry, target=target)
    np.testing.assert_array_equal(result.drawn["model"], image)
    assert result.psnr["model"] > 90 and set(result.mse) == {"model/pixels", "zero/pixels", "nearest/pixels"}
    alone = np.full_like(image, 128)
    for token in tokens:
        alone[patch(token)] = image[patch(token)]
    np.testing.assert_array_equal(result.predicted, alone)
    colour = np.broadcast_to(mean, image.shape).astype(float)
    for token in range(8):
        zero = colour[patch(token)]
        if target == "image_mae":
            zero = wanted[patch(token)].mean() * std + mean
        if token in MASKED:
            assert np.abs(result.drawn["zero"][patch(token)] - 255 * np.clip(zero, 0, 1)).max() <= 0.5 + 1e-3
    assert (abs(result.psnr["nearest"] - result.psnr["nearest_raw"]) < 1e-4) == (target == "pixels")
