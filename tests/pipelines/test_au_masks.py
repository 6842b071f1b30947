"""Action-unit masks: exact counts, patches where the face is, and nothing lost without a word."""

from __future__ import annotations

import time

import numpy as np
import pytest

from models.tokens import ClipGeometry, region_of_tokens
from pipelines import masks
from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import AUMaskConfig, Fallback, MaskRecord, draw_au_mask, num_visible, unit_tokens
from pipelines.au_rules import INNER_CORNERS, RULES
from pipelines.landmarks import MIRROR, flip_landmarks, frontal_template

PAPER = ClipGeometry(frames=16, height=224, width=224)
GEOMETRIES = [PAPER, ClipGeometry(), ClipGeometry(8, 96, 128, 2, 16), ClipGeometry(6, 64, 64, 3, 8)]
# Patches per frame that were counted on photographs of two faces, 14 x 14 grid, dilation plus.
COUNTED = {
    **{1: (14, 14), 2: (16, 18), 4: (16, 15), 5: (16, 16), 6: (24, 24), 7: (20, 20), 9: (14, 13), 10: (14, 13)},
    **{12: (10, 10), 14: (10, 10), 15: (10, 10), 17: (12, 12), 20: (16, 13), 23: (12, 12), 25: (12, 10)},
    **{26: (12, 12), 28: (12, 10), 45: (20, 20)},
}


def face(geometry: ClipGeometry, rng: np.random.Generator | None = None, *, wander: float = 0.3) -> np.ndarray:
    """The average face in every frame; with a generator it moves, turns and may leave the picture."""
    points_T682 = np.repeat(frontal_template(geometry.width)[None], geometry.frames, axis=0)
    if rng is None:
        return points_T682
    turn = rng.uniform(-0.6, 0.6)
    rotation_22 = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * rng.uniform(0.5, 1.6)
    centre = geometry.width / 2
    path_T2 = rng.uniform(-wander, wander, 2) * centre + np.cumsum(rng.normal(0, 2.0, (geometry.frames, 2)), axis=0)
    return ((points_T682 - centre) @ rotation_22.T + centre + path_T2[:, None]).astype(np.float32)


def active(*units: int) -> np.ndarray:
    return np.isin(ACTION_UNITS, units)


def draw(
    geometry: ClipGeometry = PAPER,
    *,
    units: tuple[int, ...] = ACTION_UNITS,
    landmarks_T682: np.ndarray | None = None,
    valid_T: np.ndarray | None = None,
    config: AUMaskConfig | None = None,
    seed: int = 0,
    **options,
) -> tuple[np.ndarray, MaskRecord]:
    points_T682 = face(geometry) if landmarks_T682 is None else landmarks_T682
    valid_T = np.ones(geometry.frames, bool) if valid_T is None else valid_T
    rng = np.random.default_rng(seed)
    return draw_au_mask(geometry, points_T682, valid_T, active(*units), config or AUMaskConfig(), rng, **options)


def tokens_of(unit: int, geometry: ClipGeometry = PAPER, dilation: str = "plus") -> np.ndarray:
    return unit_tokens(geometry, face(geometry), np.ones(geometry.frames, bool), unit, dilation)


def random_case(rng: np.random.Generator) -> tuple[ClipGeometry, AUMaskConfig, tuple[int, int, int] | None]:
    geometry = GEOMETRIES[rng.integers(len(GEOMETRIES))]
    ratio = float(rng.choice([0.5, 0.6, 0.7, 0.75, 0.8, 0.9]))
    rest, dilation = str(rng.choice(["random", "tube"])), str(rng.choice(["none", "plus", "square"]))
    config = AUMaskConfig(ratio, rest, dilation=dilation)
    if rng.random() < 0.5:
        return geometry, config, None
    t, h, w = geometry.grid
    return geometry, config, (t // 2, h // 2, w)


def test_every_draw_has_the_counted_tokens_whatever_the_face_and_the_units():
    rng = np.random.default_rng(0)
    seen = set()
    for case in range(1500):
        geometry, config, region = random_case(rng)
        points_T682 = face(geometry, rng, wander=1.5)
        if rng.random() < 0.3:
            points_T682 = flip_landmarks(points_T682, geometry.width)
        valid_T = rng.random(geometry.frames) < rng.choice([0.0, 0.4, 1.0])
        points_T682[~valid_T] = np.nan
        units = tuple(rng.choice(ACTION_UNITS, rng.integers(0, 5), replace=False).tolist())
        strongest = int(rng.choice(ACTION_UNITS)) if rng.random() < 0.5 else None
        visible_V, record = draw(
            geometry,
            units=units,
            landmarks_T682=points_T682,
            valid_T=valid_T,
            config=config,
            seed=case,
            strongest=strongest,
            region=region,
        )
        assert len(visible_V) == num_visible(geometry, config, region)
        assert visible_V.dtype == np.int32 and np.all(np.diff(visible_V) > 0)
        assert visible_V[0] >= 0 and visible_V[-1] < geometry.num_tokens
        if region is not None:
            assert len(set(np.bincount(region_of_tokens(geometry.grid, region)[visible_V]))) == 1
        assert (record.unit == 0) == (record.fallback not in (Fallback.none, Fallback.strongest))
        seen.add((record.fallback, record.dropped > 0, record.skipped > 0))
    assert {fallback for fallback, _, _ in seen} == set(Fallback)
    assert any(dropped for _, dropped, _ in seen) and any(skipped for _, _, skipped in seen)


@pytest.mark.parametrize("ratio", [0.29, 0.5, 0.57, 0.7, 0.9])
@pytest.mark.parametrize("rest", ["random", "tube"])
def test_counts_are_those_of_the_plain_masks(ratio, rest):
    for geometry in GEOMETRIES[:3]:
        config = AUMaskConfig(ratio, rest)
        assert num_visible(geometry, config) == masks.num_visible(geometry.grid, masks.MaskConfig(rest, ratio))
        t, h, w = geometry.grid
        region = (t // 2, h // 2, w)
        if rest == "tube":
            plain = masks.MaskConfig("region_tube", ratio, region)
            assert num_visible(geometry, config, region) == masks.num_visible(geometry.grid, plain)


def test_the_papers_clip_has_471_of_1568_tokens_visible():
    assert num_visible(PAPER, AUMaskConfig()) == 1568 - 1097


def test_lip_corners_cover_exactly_ten_patches_of_a_frame_and_nothing_smaller_exists():
    counts = {unit: int(tokens_of(unit)[0].sum()) for unit in ACTION_UNITS}
    assert counts[12] == 10 == min(counts.values())


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_the_average_face_has_about_as_many_patches_as_were_counted_on_photographs(unit):
    assert min(COUNTED[unit]) - 2 <= tokens_of(unit)[0].sum() <= max(COUNTED[unit]) + 4


def test_dilations_give_one_five_and_nine_patches_around_a_landmark_far_from_others():
    assert [int(tokens_of(12, dilation=d)[0].sum()) for d in ("none", "plus", "square")] == [2, 10, 18]


def test_every_landmark_of_the_drawn_unit_lies_on_visible_patches_while_the_face_moves():
    rng = np.random.default_rng(1)
    for seed in range(200):
        points_T682 = face(PAPER, rng)
        visible_V, record = draw(landmarks_T682=points_T682, seed=seed)
        seen_THW = np.isin(np.arange(1568), visible_V).reshape(PAPER.grid)
        assert record.dropped == 0
        for point in RULES[record.unit].points:
            if point.down:
                continue
            for frame, (x, y) in enumerate(points_T682[:, point.landmark]):
                if 0 <= x < 224 and 0 <= y < 224:
                    assert seen_THW[frame // 2, int(y // 16), int(x // 16)]


def test_patches_follow_the_head_over_time():
    steps_T = np.arange(16, dtype=np.float32) // 2 - 4
    moving_T682 = face(PAPER) + 16 * steps_T[:, None, None] * np.float32([1, 0])
    followed_THW = unit_tokens(PAPER, moving_T682, np.ones(16, bool), 12, "plus")
    for time_step, shift in enumerate(range(-4, 4)):
        assert np.array_equal(followed_THW[time_step], np.roll(tokens_of(12)[time_step], shift, axis=1))


def test_a_token_shows_a_unit_if_either_of_its_frames_does():
    points_T682 = face(PAPER)
    points_T682[1] += 16
    union = unit_tokens(PAPER, points_T682, np.ones(16, bool), 12, "none")[0]
    assert union.sum() == 4
    only_first = np.arange(16) != 1
    assert unit_tokens(PAPER, points_T682, only_first, 12, "none")[0].sum() == 2


def test_offsets_point_to_the_chin_by_the_distance_of_the_inner_eye_corners_also_in_a_tilted_head():
    geometry = ClipGeometry(frames=2, height=1024, width=1024, patch=1)
    points = frontal_template(1024)[None]
    tilt = np.radians(40)
    rotation_22 = np.float32([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    points = np.repeat((points - 512) @ rotation_22.T + 512, 2, axis=0)
    shown = unit_tokens(geometry, points, np.ones(2, bool), 17, "none")[0]
    left, right = INNER_CORNERS
    ruler = np.linalg.norm(points[0, right] - points[0, left])
    down = rotation_22 @ np.float32([0, 1])
    for landmark in (56, 58):
        x, y = points[0, landmark] + 0.5 * ruler * down
        assert shown[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].any()


def test_a_mirrored_face_has_the_mirrored_patches():
    rng = np.random.default_rng(2)
    valid_T = np.ones(16, bool)
    for _ in range(50):
        points_T682 = face(PAPER, rng)
        for unit in ACTION_UNITS:
            tokens_THW = unit_tokens(PAPER, points_T682, valid_T, unit, "plus")
            mirrored_THW = unit_tokens(PAPER, flip_landmarks(points_T682, 224), valid_T, unit, "plus")
            assert np.array_equal(mirrored_THW, tokens_THW[:, :, ::-1])


def test_a_mirrored_face_is_shown_as_often_at_mirrored_places():
    points_T682 = face(PAPER) + np.float32([21, 9])
    often = {}
    for name, points in (("face", points_T682), ("mirrored", flip_landmarks(points_T682, 224))):
        counts = np.zeros(1568)
        for seed in range(1500):
            counts[draw(landmarks_T682=points, units=(1, 12, 26), seed=seed)[0]] += 1
        often[name] = counts.reshape(PAPER.grid).mean(0) / 1500
    assert np.abs(often["mirrored"] - often["face"][:, ::-1]).max() < 0.04
    assert np.abs(often["mirrored"] - often["face"]).max() > 0.2, "the face is off the middle"


def test_every_rule_is_the_same_on_both_halves_of_the_face():
    assert tuple(RULES) == ACTION_UNITS
    for rule in RULES.values():
        points = {(point.landmark, point.down) for point in rule.points}
        assert points == {(int(MIRROR[landmark]), down) for landmark, down in points}


def test_units_are_drawn_equally_often_from_the_active_ones():
    units = [draw(units=(4, 12, 25, 45), seed=seed)[1].unit for seed in range(2000)]
    shares = {unit: units.count(unit) / 2000 for unit in set(units)}
    assert set(shares) == {4, 12, 25, 45} and all(abs(share - 0.25) < 0.04 for share in shares.values())


def test_tokens_outside_the_unit_are_all_seen_equally_often():
    counts = np.zeros(1568)
    for seed in range(2000):
        counts[draw(units=(12,), seed=seed)[0]] += 1
    share_THW = counts.reshape(PAPER.grid) / 2000
    unit_THW = tokens_of(12)
    assert np.all(share_THW[unit_THW] == 1)
    expected = (471 - 80) / (1568 - 80)
    assert np.abs(share_THW[~unit_THW] - expected).max() < 0.06


def test_the_rest_as_a_tube_shows_the_same_places_at_all_times_but_for_one():
    for seed in range(50):
        visible_V, record = draw(config=AUMaskConfig(rest="tube"), seed=seed)
        seen_THW = np.isin(np.arange(1568), visible_V).reshape(PAPER.grid)
        times = (seen_THW & ~tokens_of(record.unit)).sum(0)
        assert ((times > 0) & (times < 8)).sum() <= 1
        assert (times == 8).sum() > 20


def test_a_plain_tube_has_no_cell_that_is_cut_in_time():
    visible_V, record = draw(units=(), config=AUMaskConfig(rest="tube"))
    seen_THW = np.isin(np.arange(1568), visible_V).reshape(PAPER.grid)
    assert record.fallback is Fallback.no_active_unit and np.all(seen_THW == seen_THW[0])


def test_without_active_units_the_strongest_is_shown_if_there_is_one():
    assert draw(units=(), strongest=17)[1] == (17, 96, 0, 0, Fallback.strongest)
    assert draw(units=())[1] == (0, 0, 0, 0, Fallback.no_active_unit)
    assert draw(units=(12,), strongest=17)[1].unit == 12


def test_without_a_face_the_mask_is_plain_and_landmarks_are_not_looked_at():
    lost = np.full((16, 68, 2), np.nan, np.float32)
    masks_drawn = [draw(landmarks_T682=points, valid_T=np.zeros(16, bool)) for points in (lost, face(PAPER))]
    for visible_V, record in masks_drawn:
        assert record == (0, 0, 0, 0, Fallback.no_landmarks)
        assert np.array_equal(visible_V, masks_drawn[0][0])


def test_a_unit_outside_the_picture_gives_way_to_another_active_one():
    only_brows = face(PAPER) + np.float32([0, 110])
    for seed in range(20):
        _, record = draw(units=(12, 1), landmarks_T682=only_brows, seed=seed)
        assert record.unit == 1 and record.fallback is Fallback.none
    skipped = {draw(units=(12, 1), landmarks_T682=only_brows, seed=seed)[1].skipped for seed in range(20)}
    assert skipped == {0, 1}
    assert draw(units=(12,), landmarks_T682=only_brows)[1] == (0, 0, 0, 1, Fallback.outside)


def test_a_mask_that_keeps_nothing_is_plain_whatever_is_active():
    for rest in ("random", "tube"):
        config = AUMaskConfig(rest=rest, keep="nothing")
        visible_V, record = draw(config=config)
        assert record == (0, 0, 0, 0, Fallback.none)
        assert np.array_equal(visible_V, draw(units=(), config=config)[0])
        assert len(visible_V) == num_visible(PAPER, AUMaskConfig(rest=rest))


def test_a_mask_too_small_for_the_unit_keeps_a_random_part_of_it_and_counts_the_others():
    config = AUMaskConfig(ratio=0.9)
    area = int(tokens_of(6).sum())
    first, record = draw(units=(6,), config=config)
    assert area == 192 > num_visible(PAPER, config)
    assert (record.kept, record.dropped) == (157, 35)
    assert set(first) <= set(np.flatnonzero(tokens_of(6)))
    assert set(first) != set(draw(units=(6,), config=config, seed=1)[0])


def test_in_every_region_the_units_tokens_come_first_and_those_beyond_its_share_are_counted():
    region = (2, 7, 14)
    visible_V, record = draw(units=(6,), config=AUMaskConfig(ratio=0.9), region=region)
    region_N = region_of_tokens(PAPER.grid, region)
    share = len(visible_V) // (region_N.max() + 1)
    wanted = np.bincount(region_N[tokens_of(6).ravel()], minlength=region_N.max() + 1)
    assert record.kept == np.minimum(wanted, share).sum() < wanted.sum() == record.kept + record.dropped


def test_the_same_generator_state_gives_the_same_mask_and_another_gives_another():
    assert np.array_equal(draw(seed=3)[0], draw(seed=3)[0])
    assert not np.array_equal(draw(seed=3)[0], draw(seed=4)[0])


def test_values_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="ratio=1.0"):
        AUMaskConfig(ratio=1.0)
    with pytest.raises(ValueError, match="dilation=square has no effect"):
        AUMaskConfig(keep="nothing", dilation="square")
    with pytest.raises(ValueError, match="masks nothing"):
        num_visible(ClipGeometry(2, 32, 32), AUMaskConfig(ratio=0.1))
    with pytest.raises(ValueError, match="does not tile"):
        num_visible(PAPER, AUMaskConfig(), (3, 7, 14))
    with pytest.raises(ValueError, match="landmarks has shape"):
        draw(landmarks_T682=face(PAPER)[:8])
    with pytest.raises(ValueError, match="strongest=3"):
        draw(strongest=3)


@pytest.mark.parametrize(("rest", "region"), [("random", None), ("tube", None), ("random", (2, 7, 14))])
def test_a_mask_is_drawn_in_less_than_half_a_millisecond_of_cpu(rest, region):
    points_T682, valid_T, rng = face(PAPER), np.ones(16, bool), np.random.default_rng(0)
    config, units = AUMaskConfig(rest=rest), active(*ACTION_UNITS)

    def seconds() -> float:
        start = time.process_time()
        for _ in range(100):
            draw_au_mask(PAPER, points_T682, valid_T, units, config, rng, region=region)
        return (time.process_time() - start) / 100

    assert min(seconds() for _ in range(6)) < 5e-4
