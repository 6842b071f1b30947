"""How right action units are where the truth is known, frame by frame and in the masks that are drawn from them.

Precision, recall and F1 count frames in which the face was found; how many those are is reported beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.action_units import ACTION_UNITS, ACTIVE
from pipelines.alignment import crop_path, face_path, map_landmarks
from pipelines.au_masks import Fallback, MaskRecord, unit_tokens
from pipelines.clip_masks import active_in_span
from pipelines.face_geometry import MAX_YAW
from pipelines.randomness import Draw
from pipelines.take_sample import Choice, Take, TakeSampleConfig, choose, draw_masks

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack

MEASURES = ("precision", "recall", "f1")
UP_TO, BEYOND = f"yaw to {MAX_YAW:g}", f"yaw over {MAX_YAW:g}"


class Comparison(NamedTuple):
    """A source against the truth over some frames."""

    frames: int
    """All of them, with a face found or not."""
    true_N18: np.ndarray
    """bool: the unit is active; of the N frames with a face."""
    found_N18: np.ndarray
    """bool: the source says so."""
    error_N: np.ndarray
    """Mean distance of the 68 landmarks from the true ones, in true eye distances."""


class DrawnMask(NamedTuple):
    """A mask and what it has to do with the true face."""

    view: int
    """Of the camera, whether mirrored or not."""
    yaw: float
    """Degrees, the largest of the clip, without sign."""
    record: MaskRecord
    is_active: bool
    """The unit that is shown truly is active in the clip."""
    covered: float
    """Share of the patches of its true points that the unit's tokens hold; NaN where no unit is shown."""


def compare(truth: FaceTrack, found: FaceTrack | None, eye_T: np.ndarray) -> Comparison:
    """One video. `eye_T` is the true eye distance in pixels as the frontal camera sees it: a turn would shorten it."""
    if found is None:
        nothing_N18 = np.zeros((0, len(ACTION_UNITS)), bool)
        return Comparison(int(truth.valid_T.sum()), nothing_N18, nothing_N18, np.zeros(0))
    both_T = truth.valid_T & found.valid_T
    apart_N68 = np.linalg.norm(found.landmarks_T682[both_T] - truth.landmarks_T682[both_T], axis=2)
    return Comparison(
        int(truth.valid_T.sum()),
        truth.score_T18[both_T] >= ACTIVE,
        found.score_T18[both_T] >= ACTIVE,
        apart_N68.mean(1) / eye_T[both_T],
    )


def joined(comparisons: Sequence[Comparison]) -> Comparison:
    frames, *arrays = zip(*comparisons, strict=True)
    return Comparison(sum(frames), *map(np.concatenate, arrays))


def summary(comparison: Comparison) -> dict[str, Any]:
    """Frames, share with a face, landmark error in percent of the eye distance, and measures of every unit, of all
    decisions together (micro) and on average over the units that are active in some frame (macro).

    NaN where there is nothing to divide by, as for the precision of a unit that is never found; macro leaves it out.
    """
    error_N = comparison.error_N
    return {
        "frames": comparison.frames,
        "face_share": len(error_N) / comparison.frames if comparison.frames else np.nan,
        "landmark_error_percent": 100 * float(error_N.mean()) if len(error_N) else np.nan,
        **unit_measures(comparison.true_N18, comparison.found_N18),
    }


def unit_measures(true_N18: np.ndarray, found_N18: np.ndarray) -> dict[str, Any]:
    """`units` (by number: positives and MEASURES), `micro` and `macro` (MEASURES) of bool arrays."""
    from sklearn.metrics import precision_recall_fscore_support

    positives_18 = true_N18.sum(0)
    every, active = np.arange(len(ACTION_UNITS)), np.flatnonzero(positives_18)

    def measures(average: str | None, labels: np.ndarray) -> np.ndarray:
        if not len(true_N18) or not len(labels):
            return np.full(3 if average else (3, len(labels)), np.nan)
        arrays = true_N18.astype(np.int8), found_N18.astype(np.int8)
        options = {"average": average, "labels": labels, "zero_division": np.nan}
        return np.array(precision_recall_fscore_support(*arrays, **options)[:3])

    def named(values_3: np.ndarray) -> dict[str, float]:
        return dict(zip(MEASURES, values_3.tolist(), strict=True))

    each_18 = zip(ACTION_UNITS, positives_18.tolist(), measures(None, every).T, strict=True)
    units = {unit: {"positives": positives, **named(values_3)} for unit, positives, values_3 in each_18}
    return {"units": units, "micro": named(measures("micro", every)), "macro": named(measures("macro", active))}


def draw_mask(
    take: Take,
    truth: Sequence[FaceTrack],
    found: Sequence[FaceTrack | None],
    config: TakeSampleConfig,
    *,
    epoch: int,
) -> DrawnMask:
    """The mask that the training stream draws of a take in an epoch. `truth` and `found` are by view.

    Raises SampleError as `choose`.
    """
    choice = choose(take, config, epoch=epoch)
    key = {"seed": config.seed, "epoch": epoch, "sample_id": take.sample_id}
    _, (record, *_) = draw_masks(choice, dict(enumerate(found)), config, draw=Draw.MASK, **key)
    true_face, face = truth[choice.input_view], found[choice.input_view]
    active_18, _ = active_in_span(true_face, choice.indices)
    return DrawnMask(
        choice.input_view,
        float(np.abs(true_face.yaw_T[choice.indices]).max()),
        record,
        bool(record.unit and active_18[ACTION_UNITS.index(record.unit)]),
        _covered(true_face, face, choice, record.unit, config) if face is not None and record.unit else np.nan,
    )


def mask_rates(masks: Sequence[DrawnMask]) -> dict[str, Any]:
    """Of some masks: the share of each fallback; of those that show a unit, mean and smallest cover of the true points,
    and the share whose unit truly is active. NaN where none shows one."""
    fallbacks = [mask.record.fallback for mask in masks]
    shown = [mask for mask in masks if mask.record.unit]
    covered = [mask.covered for mask in shown if not np.isnan(mask.covered)]
    return {
        "masks": len(masks),
        "covered": float(np.mean(covered)) if covered else np.nan,
        "least_covered": float(np.min(covered)) if covered else np.nan,
        "truly_active": float(np.mean([mask.is_active for mask in shown])) if shown else np.nan,
        "fallbacks": {kind.value: fallbacks.count(kind) / len(masks) if masks else np.nan for kind in Fallback},
    }


def yaw_group(mask: DrawnMask) -> str:
    return UP_TO if mask.yaw <= MAX_YAW else BEYOND


def _covered(truth: FaceTrack, found: FaceTrack, choice: Choice, unit: int, config: TakeSampleConfig) -> float:
    """The crop is that of the face as it was found, for truth and source alike."""
    path_T23 = crop_path(face_path(found, config.align)[choice.indices], choice.crop)

    def tokens(track: FaceTrack, dilation: str) -> np.ndarray:
        landmarks_T682 = map_landmarks(track.landmarks_T682[choice.indices], path_T23)
        return unit_tokens(config.geometry, landmarks_T682, track.valid_T[choice.indices], unit, dilation)

    true_THW = tokens(truth, "none")
    if not true_THW.any():
        return np.nan
    return float(tokens(found, config.mask.dilation)[true_THW].mean())
