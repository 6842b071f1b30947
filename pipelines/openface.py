"""Reads the CSV that OpenFace 2's FeatureExtraction writes of a video: landmarks, head and action units.

Source: Baltrusaitis et al. 2018 (OpenFace 2.0) and the columns its recorder writes (`-2Dfp -pose -aus`). Columns are
found by name, which some versions pad with a space. Of a video with several faces the longest one is read.
Deliberate difference: presence decides whether a unit is active, so that an intensity of 1 and above always means
present; presence without an intensity (AU28) becomes an intensity of 1.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipelines.action_units import ACTION_UNITS, ACTIVE, MAX_SCORE
from pipelines.face_tracks import FaceTrack, smooth_boxes
from pipelines.landmarks import NUM_LANDMARKS
from pipelines.quarantine import Reason, SampleError

MIN_CONFIDENCE = 0.8
"""Frames that OpenFace is less sure of are not valid."""
OPENFACE_VERSION = "openface-2"
_NOT_PRESENT = 0.99
"""Largest score of a unit that OpenFace does not see."""
_LANDMARK_COLUMNS = [f"{axis}_{i}" for i in range(NUM_LANDMARKS) for axis in "xy"]


def read_csv(data: bytes, num_frames: int) -> FaceTrack:
    """The longest face of a video.

    Frames without success or below MIN_CONFIDENCE, and frames without a row, are not valid.

    Args:
        num_frames: of the video, as decoded; its pixels are those of the landmarks.

    Raises:
        SampleError: changed (frames the video does not have), decode (rows that cannot be read, or a number that
            is not finite), empty (no rows).
        ValueError: columns that are not those of a video of OpenFace 2 with landmarks and action units.
    """
    table = _parse(data)
    _check_columns(table.column_names)
    if not table.num_rows:
        raise SampleError(Reason.empty, "the CSV has no rows")
    table = _longest_face(table)
    frame_N = _column(table, "frame")
    if frame_N.min() < 1 or frame_N.max() > num_frames:
        raise SampleError(
            Reason.changed, f"rows of frames {frame_N.min():g} to {frame_N.max():g}, the video has {num_frames}"
        )
    if len(np.unique(frame_N)) < len(frame_N):
        raise SampleError(Reason.decode, "several rows of one face in one frame")
    landmarks_N682 = np.stack([_column(table, name) for name in _LANDMARK_COLUMNS], 1).reshape(-1, NUM_LANDMARKS, 2)
    sure_N = (_column(table, "success") == 1) & (_column(table, "confidence", 1.0) >= MIN_CONFIDENCE)
    yaw_N, pitch_N = (np.degrees(_column(table, name, 0.0)) for name in ("pose_Ry", "pose_Rx"))
    columns = (landmarks_N682, _scores(table), -yaw_N, pitch_N)
    at_T, rows_N = frame_N[sure_N].astype(np.int64) - 1, [column[sure_N] for column in columns]
    if not all(np.isfinite(column).all() for column in rows_N):
        raise SampleError(Reason.decode, "a number in a valid row is not finite")
    return _spread(at_T, rows_N, num_frames)


def _parse(data: bytes) -> pa.Table:
    if not data.strip():
        raise SampleError(Reason.empty, "the CSV is empty")
    try:
        table = pa_csv.read_csv(io.BytesIO(data), read_options=pa_csv.ReadOptions(use_threads=False))
        return table.rename_columns([name.strip() for name in table.column_names])
    except pa.ArrowInvalid as error:
        raise SampleError(Reason.decode, f"not a CSV: {error}") from None


def _check_columns(names: list[str]) -> None:
    there = set(names)
    units = {name[2:].split("_")[0] for name in there if name.startswith("AU") and name.endswith(("_r", "_c"))}
    if {int(unit) for unit in units if unit.isdigit()} == set(range(1, 9)):
        raise ValueError(
            "AU01 to AU08 are columns of OpenFace 3 and not the units they say; run OpenFace 2's FeatureExtraction"
        )
    missing = [name for name in ("frame", "success", "x_0", "y_67") if name not in there]
    missing += [] if units else ["AU01_r"]
    if missing:
        raise ValueError(
            f"no column {', '.join(missing)}: not a video of OpenFace 2; run FeatureExtraction with -2Dfp -pose -aus"
        )
    absent = [name for name in _LANDMARK_COLUMNS if name not in there]
    if absent:
        raise ValueError(f"no column {absent[0]}: 68 landmarks are needed; run FeatureExtraction with -2Dfp")


def _column(table: pa.Table, name: str, default: float | None = None) -> np.ndarray:
    """float64 [N]; NaN where a field is empty, the default where there is no such column."""
    if name not in table.column_names:
        return np.full(table.num_rows, default)
    try:
        return table[name].cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise SampleError(Reason.decode, f"column {name}: {error}") from None


def _longest_face(table: pa.Table) -> pa.Table:
    """The rows of the face that has most frames with success; the first of several."""
    if "face_id" not in table.column_names:
        return table
    face_N = _column(table, "face_id")
    ids, counts = np.unique(face_N[_column(table, "success") == 1], return_counts=True)
    kept = ids[counts.argmax()] if ids.size else face_N[0]
    return table.filter(pc.equal(table["face_id"], pa.scalar(kept).cast(table["face_id"].type)))


def _scores(table: pa.Table) -> np.ndarray:
    """[N, 18]; 0 for units that the file does not have."""
    scores = []
    for unit in ACTION_UNITS:
        intensity, presence = (f"AU{unit:02d}_{kind}" for kind in "rc")
        # Without its last pass OpenFace leaves intensities below 0.
        score_N = np.clip(_column(table, intensity, 0.0), 0, MAX_SCORE)
        if presence in table.column_names:
            present_N = _column(table, presence) == 1
            score_N = np.where(present_N, np.maximum(score_N, ACTIVE), np.minimum(score_N, _NOT_PRESENT))
        scores.append(score_N)
    return np.stack(scores, 1)


def _spread(at_T: np.ndarray, rows: list[np.ndarray], num_frames: int) -> FaceTrack:
    """Rows of valid frames as arrays over all frames of the video."""
    landmarks_N682, score_N18, yaw_N, pitch_N = rows

    def over_time(values: np.ndarray, missing: float) -> np.ndarray:
        array = np.full((num_frames, *values.shape[1:]), missing, np.float32)
        array[at_T] = values
        return array

    valid_T = np.zeros(num_frames, bool)
    valid_T[at_T] = True
    landmarks_T682 = over_time(landmarks_N682, np.nan)
    return FaceTrack(
        landmarks_T682=landmarks_T682,
        valid_T=valid_T,
        box_T4=smooth_boxes(landmarks_T682),
        score_T18=over_time(score_N18, 0.0),
        yaw_T=over_time(yaw_N, 0.0),
        pitch_T=over_time(pitch_N, 0.0),
        source="openface",
        version=OPENFACE_VERSION,
    )
