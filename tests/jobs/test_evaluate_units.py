"""The measuring of action units against the truth: right numbers, a report of everything, and masks that cover."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import metadata
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import evaluate_units as job
from jobs.parts.unit_evaluation import Comparison, DrawnMask, compare, draw_mask, joined, mask_rates, summary
from jobs.parts.unit_evaluation_run import scored_together
from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS, features
from pipelines.alignment import AlignConfig, crop_path, draw_crop, face_path, map_landmarks
from pipelines.au_masks import Fallback, MaskRecord
from pipelines.au_rules import rule_points
from pipelines.clips import ClipConfig
from pipelines.corpora.mead import VIEWS
from pipelines.face_tracks import FaceTrack, smooth_boxes
from pipelines.landmarks import frontal_template
from pipelines.randomness import Draw
from pipelines.sample import Video
from pipelines.take_sample import FRONT, Choice, Take, TakeSampleConfig, draw_masks
from tests.pipelines.faces import pose, renderer
from tests.pipelines.head_samples import acted, pulse

FRAMES = 4
SAMPLE = TakeSampleConfig(
    clip=ClipConfig(frames=FRAMES, stride=1), geometry=ClipGeometry(frames=FRAMES, height=224, width=224)
)


def face(landmarks_T682: np.ndarray, *, units: tuple[int, ...] = (), yaw: float = 0.0) -> FaceTrack:
    frames = len(landmarks_T682)
    return FaceTrack(
        landmarks_T682=landmarks_T682.astype(np.float32),
        valid_T=np.ones(frames, bool),
        box_T4=smooth_boxes(landmarks_T682),
        score_T18=np.tile(2.0 * np.isin(ACTION_UNITS, units), (frames, 1)).astype(np.float32),
        yaw_T=np.full(frames, yaw, np.float32),
        pitch_T=np.zeros(frames, np.float32),
        source="openface",
        version="test",
    )


def still(**options) -> FaceTrack:
    return face(np.repeat(100 + frontal_template(200)[None], FRAMES, axis=0), **options)


def comparison(true_N18: np.ndarray, found_N18: np.ndarray) -> Comparison:
    return Comparison(len(true_N18), true_N18, found_N18, np.zeros(len(true_N18)))


def some_units() -> np.ndarray:
    """Every unit is active in some frames and not in others."""
    return np.random.default_rng(0).random((60, len(ACTION_UNITS))) < 0.3


def test_a_perfect_source_scores_1_and_an_inverted_one_0() -> None:
    true_N18 = some_units()
    for found_N18, expected in ((true_N18, 1.0), (~true_N18, 0.0)):
        found = summary(comparison(true_N18, found_N18))
        for measures in (*found["units"].values(), found["micro"], found["macro"]):
            assert [measures[name] for name in ("precision", "recall", "f1")] == [expected] * 3


def test_hits_misses_and_false_alarms_give_the_numbers_counted_by_hand() -> None:
    true_N18, found_N18 = np.zeros((2, 10, len(ACTION_UNITS)), bool)
    smile, blink = ACTION_UNITS.index(12), ACTION_UNITS.index(45)
    true_N18[:4, smile], found_N18[3:5, smile] = True, True  # one hit, three misses, one false alarm
    true_N18[:2, blink], found_N18[:2, blink] = True, True
    found = summary(comparison(true_N18, found_N18))
    assert found["units"][12] == {"positives": 4, "precision": 0.5, "recall": 0.25, "f1": pytest.approx(1 / 3)}
    assert found["micro"] == {"precision": 0.75, "recall": 0.5, "f1": pytest.approx(0.6)}
    assert found["macro"] == {"precision": 0.75, "recall": 0.625, "f1": pytest.approx(2 / 3)}
    assert np.isnan([found["units"][1][name] for name in ("precision", "recall", "f1")]).all()


def test_counts_of_videos_add_up() -> None:
    true_N18 = some_units()
    parts = [comparison(true_N18[:20], true_N18[:20]), comparison(true_N18[20:], ~true_N18[20:])]
    found = summary(joined(parts))
    assert found["frames"] == 60
    assert [units["positives"] for units in found["units"].values()] == true_N18.sum(0).tolist()
    assert found["micro"]["recall"] == pytest.approx(true_N18[:20].sum() / true_N18.sum())


def test_frames_without_a_face_count_against_the_share_of_faces_alone() -> None:
    truth, eye_T = still(units=(12,)), np.full(FRAMES, 50.0)
    moved = face(truth.landmarks_T682 + (3, 4), units=(12,))
    moved.valid_T[1] = False
    moved.score_T18[1] = 0
    found = summary(compare(truth, moved, eye_T))
    assert (found["frames"], found["face_share"]) == (FRAMES, 0.75)
    assert found["landmark_error_percent"] == pytest.approx(10, rel=1e-4)
    assert found["units"][12]["recall"] == 1.0
    never = summary(compare(truth, None, eye_T))
    assert (never["frames"], never["face_share"], never["units"][12]["positives"]) == (FRAMES, 0.0, 0)
    assert np.isnan([never["landmark_error_percent"], never["micro"]["f1"], never["units"][12]["recall"]]).all()


def test_the_faces_of_a_subject_share_a_baseline() -> None:
    def measured(landmarks_T683: np.ndarray) -> FaceTrack:
        return replace(face(landmarks_T683[..., :2]), features_TF=features(landmarks_T683))

    smiling, resting = measured(acted(12, np.ones(20))), measured(acted(12, pulse(60, 20, 25)))
    together, missing, _ = scored_together([smiling, None, resting])
    assert missing is None
    assert (together.score_T18[:, ACTION_UNITS.index(12)] >= 1).all()


def drawn(unit: int, covered: float, fallback: Fallback, *, is_active: bool = True) -> DrawnMask:
    return DrawnMask(FRONT, 0.0, MaskRecord(unit, 10, 0, 0, fallback), is_active, covered)


def test_rates_of_masks_are_shares_of_those_drawn() -> None:
    masks = [
        drawn(12, 1.0, Fallback.none),
        drawn(1, 0.5, Fallback.strongest, is_active=False),
        drawn(0, np.nan, Fallback.no_landmarks, is_active=False),
        drawn(0, np.nan, Fallback.no_landmarks, is_active=False),
    ]
    rates = mask_rates(masks)
    assert (rates["masks"], rates["covered"], rates["least_covered"], rates["truly_active"]) == (4, 0.75, 0.5, 0.5)
    shares = {"none": 0.25, "strongest": 0.25, "no_active_unit": 0.0, "no_landmarks": 0.5, "outside": 0.0}
    assert rates["fallbacks"] == shares


def test_a_mask_covers_the_true_face_where_it_was_found_and_less_where_it_was_not() -> None:
    take = Take(0, tuple(Video(0, "", 0, "", FRAMES, 25.0) for _ in VIEWS))
    truth = [still(units=(12,), yaw=-20.0)] * len(VIEWS)
    # Only the mouth is misplaced: the crop stays where it is.
    wrong_T682 = truth[0].landmarks_T682.copy()
    wrong_T682[:, 48:68, 1] -= 60
    exact, wrong, lost = (
        [draw_mask(take, truth, [found] * len(VIEWS), SAMPLE, epoch=epoch) for epoch in range(20)]
        for found in (truth[0], face(wrong_T682, units=(12,)), None)
    )
    assert {(mask.record.unit, mask.covered, mask.is_active, mask.yaw) for mask in exact} == {(12, 1.0, True, 20.0)}
    assert len({mask.view for mask in exact}) > 4
    assert max(mask.covered for mask in wrong) < 0.3
    assert {mask.record.fallback for mask in lost} == {Fallback.no_landmarks}
    assert np.isnan([mask.covered for mask in lost]).all()


@pytest.mark.parametrize("mode", ["box", "similarity"])
def test_kept_patches_cover_every_true_point_of_every_unit_at_any_yaw_up_to_30_degrees(mode: str) -> None:
    config, rng = replace(SAMPLE, align=AlignConfig(mode=mode)), np.random.default_rng(0)
    _, rows, columns = config.geometry.grid
    for number, unit in enumerate(ACTION_UNITS):
        poses = [pose({unit: 3.0}, yaw=yaw, pitch=rng.uniform(-10, 10)) for yaw in rng.uniform(-30, 30, FRAMES)]
        track = face(np.stack([renderer(number % 2).landmarks(moment) for moment in poses]), units=(unit,))
        choice = Choice(FRONT, FRONT, np.arange(FRAMES), draw_crop(config.align, 224, rng))
        (visible_V,), (record,) = draw_masks(choice, {FRONT: track}, config, draw=Draw.MASK, seed=number)
        path_T23 = crop_path(face_path(track, config.align), choice.crop)
        points_TP2 = rule_points(map_landmarks(track.landmarks_T682, path_T23), unit)
        column_TP, row_TP = np.moveaxis(points_TP2 // config.geometry.patch, 2, 0).astype(int)
        assert ((0 <= column_TP) & (column_TP < columns) & (0 <= row_TP) & (row_TP < rows)).all()
        step_T1 = np.arange(FRAMES)[:, None] // config.geometry.tubelet
        assert np.isin((step_T1 * rows + row_TP) * columns + column_TP, visible_V).all()
        assert record.unit == unit and not record.dropped


def test_without_mediapipe_the_job_reports_the_true_landmarks_and_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    corpus = {"actors": 1, "takes-per-actor": 1, "min-seconds": 0.4, "max-seconds": 0.5, "size": 64}
    options = [word for name, value in corpus.items() for word in (f"--corpus.{name}", str(value))]
    places = ["--home", str(tmp_path / "home"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["evaluate_units.py", *options, *places])
    job.main()
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["takes"] == 1 and "0.10.21" in result["left_out"]["MediaPipe"]
    assert "MediaPipe is left out" in printed.err and "AU45" in printed.err
    (found,) = result["sources"].values()
    assert list(found["views"]) == [*VIEWS, "all"]
    assert {view["landmark_error_percent"] for view in found["views"].values()} == {0.0}
    assert found["views"]["all"]["frames"] == sum(found["views"][view]["frames"] for view in VIEWS) >= 70
    assert sum(found["masks"][view]["masks"] for view in VIEWS) == 4 * len(VIEWS)
    assert {found["masks"][view]["least_covered"] for view in VIEWS if found["masks"][view]["masks"]} == {1.0}
    with Image.open(BytesIO((tmp_path / "out" / "units.png").read_bytes())) as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
