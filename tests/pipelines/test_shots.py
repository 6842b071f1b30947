from __future__ import annotations

import numpy as np

from pipelines.shots import shot_starts, thumbnail


def scene(seed: int, frames: int, speed: float = 0.0) -> list[np.ndarray]:
    """A picture that slides by `speed` pixels a frame, with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3))
    picture = np.kron(coarse, np.ones((30, 30, 1)))
    slid = [np.roll(picture, round(speed * t), 1) + rng.normal(0, 4, picture.shape) for t in range(frames)]
    return [thumbnail(np.clip(frame, 0, 255).astype(np.uint8)) for frame in slid]


def test_a_change_of_scene_begins_a_shot() -> None:
    starts = shot_starts(np.stack(scene(0, 20) + scene(1, 15) + scene(2, 10)))
    np.testing.assert_array_equal(np.flatnonzero(starts), [20, 35])


def test_movement_is_no_change_of_shot() -> None:
    assert not shot_starts(np.stack(scene(0, 60, speed=6.0))).any()


def test_a_still_scene_and_a_single_frame_have_no_cut() -> None:
    assert not shot_starts(np.stack(scene(0, 30))).any()
    np.testing.assert_array_equal(shot_starts(np.stack(scene(0, 1))), [False])


def test_two_different_frames_are_two_shots() -> None:
    np.testing.assert_array_equal(shot_starts(np.stack(scene(0, 1) + scene(1, 1))), [False, True])
