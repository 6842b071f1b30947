"""The job that draws action-unit masks, from a video and its annotation to pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.parts.activity_chart import Activity, draw_activity
from jobs.parts.mask_pictures import MaskedClip, draw_atlas, draw_masked_clip, draw_view_atlas
from jobs.parts.mask_run import FaceVideo, MaskPictureConfig, load_videos, show_masks
from jobs.parts.pictures import CELL
from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig, Fallback, MaskRecord, draw_au_mask
from pipelines.clips import ClipConfig
from pipelines.landmarks import frontal_template
from pipelines.quarantine import Reason, SampleError
from pipelines.synthetic.mead import TakeSpec

JOB = Path(__file__).parents[2] / "jobs" / "show_masks.py"
GEOMETRY = ClipGeometry(height=112, width=112)
CONFIG = MaskPictureConfig(
    geometry=GEOMETRY,
    clip=ClipConfig(stride=2, short="drop"),
    align=AlignConfig(size=120),
    mask=AUMaskConfig(),
    seed=0,
)


@cache
def views() -> tuple[FaceVideo, ...]:
    """A happy face of 33 frames, from the front and from the side."""
    take = TakeSpec(actor=0, take=0, emotion="happy", level=3, number=1, frames=33, size=96, seed=0)
    paths = [path for path in take.paths if "/front/" in path or "/left_30/" in path]
    return tuple(FaceVideo(path.split("/")[2], data, csv) for path, data, csv in take.render(paths))


def run(tmp_path: Path, videos: tuple[FaceVideo, ...], *, unit: int | None = None, **fields: object) -> dict:
    return show_masks(videos, replace(CONFIG, **fields), unit=unit, output=str(tmp_path))


def flat_clip(value: int = 200) -> np.ndarray:
    return np.full((16, 112, 112, 3), value, np.uint8)


def masked(unit: int, *, valid: bool = True) -> MaskedClip:
    landmarks_T682 = np.repeat(frontal_template(112)[None], 16, axis=0)
    valid_T, rng = np.full(16, valid), np.random.default_rng(0)
    active_18 = np.isin(ACTION_UNITS, unit)
    drawn = draw_au_mask(GEOMETRY, landmarks_T682, valid_T, active_18, AUMaskConfig(), rng)
    return MaskedClip("flat", flat_clip(), landmarks_T682, valid_T, [unit], *drawn)


def cells_of(value: int, sheet_HWC: np.ndarray) -> float:
    """Pixels of this grey in a sheet, in cells."""
    return (sheet_HWC == value).all(-1).sum() / CELL**2


def test_a_video_with_its_csv_gives_its_clip_its_units_and_an_atlas(tmp_path: Path) -> None:
    result = run(tmp_path, views()[:1])
    assert result["files"] == ["front-mask.png", "front-units.png", "atlas.png"]
    for file in result["files"]:
        with Image.open(tmp_path / file) as picture:
            assert picture.format == "PNG" and min(picture.size) > 400
    (clip,) = result["clips"]
    assert clip["source"] == "openface" and {6, 12} <= set(clip["active"])
    assert clip["unit"] in clip["active"] and clip["kept"] > 30 and clip["fallback"] == "none"
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_all_views_of_a_performance_show_the_unit_drawn_for_the_first(tmp_path: Path) -> None:
    front, side = views()
    renamed = side.csv
    for shown, other in ((b"AU06", b"AU01"), (b"AU12", b"AU02"), (b"AU25", b"AU04"), (b"AU26", b"AU05")):
        renamed = renamed.replace(shown, b"AU").replace(other, shown).replace(b"AU_", other + b"_")
    first, second = run(tmp_path, (front, side._replace(csv=renamed)))["clips"]
    assert not set(first["active"]) & set(second["active"]) and second["active"]
    assert first["unit"] == second["unit"] and second["kept"] > 0
    with Image.open(tmp_path / "atlas.png") as atlas:
        assert atlas.height > 18 * CELL and atlas.width > 2 * CELL


def test_a_unit_that_is_asked_for_is_shown_whether_active_or_not(tmp_path: Path) -> None:
    (clip,) = run(tmp_path, views()[:1], unit=17)["clips"]
    assert clip["unit"] == 17 not in clip["active"]


def test_a_plain_mask_is_drawn_without_a_unit(tmp_path: Path) -> None:
    (clip,) = run(tmp_path, views()[:1], mask=AUMaskConfig(keep="nothing"))["clips"]
    assert (clip["unit"], clip["fallback"]) == (0, "none")


def test_a_video_without_a_face_is_named(tmp_path: Path) -> None:
    front = views()[0]
    header, *lines = front.csv.decode().splitlines()
    success = header.split(",").index("success")
    rows = [line.split(",") for line in lines]
    failed = [",".join([*row[:success], "0", *row[success + 1 :]]) for row in rows]
    lost = front._replace(csv="\n".join([header, *failed]).encode())
    with pytest.raises(SampleError, match="front: ") as caught:
        run(tmp_path, (lost,))
    assert caught.value.reason is Reason.no_face


def test_videos_are_named_by_what_sets_their_paths_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "video" / view / "happy" / "001.mp4" for view in ("front", "top")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"film")
    assert [video.name for video in load_videos(paths, [])] == ["front-happy-001", "top-happy-001"]
    assert load_videos(paths[:1], paths[1:]) == [FaceVideo("001", b"film", b"film")]
    with pytest.raises(SampleError, match="missing: there is no file"):
        load_videos([tmp_path / "none.mp4"], [])


def test_patches_of_the_unit_keep_their_brightness_and_the_rest_is_darkened() -> None:
    sheet_HWC = draw_masked_clip(masked(12), GEOMETRY, AUMaskConfig(), setting="")
    plain_HWC = draw_masked_clip(masked(12, valid=False), GEOMETRY, AUMaskConfig(), setting="")
    assert sheet_HWC.shape[0] > plain_HWC.shape[0] + 100, "without a unit its row is left out"
    dark = cells_of(80, sheet_HWC)
    assert 5 < dark < 8 and cells_of(80, plain_HWC) == 0
    assert abs(cells_of(128, plain_HWC) - 0.7 * 8) < 0.7


def test_each_reason_for_a_plain_mask_is_drawn() -> None:
    for fallback in (Fallback.none, Fallback.no_landmarks, Fallback.no_active_unit, Fallback.outside):
        plain = replace(masked(12, valid=False), record=MaskRecord(0, 0, 0, 0, fallback))
        assert draw_masked_clip(plain, GEOMETRY, AUMaskConfig(), setting="").shape[1] > 8 * CELL


def test_the_atlas_lights_every_unit_on_every_view() -> None:
    face = flat_clip()[0], frontal_template(112)
    one = draw_view_atlas({"front": face}, GEOMETRY, "plus", title="")
    two = draw_view_atlas({"front": face, "top": face}, GEOMETRY, "plus", title="")
    for count, sheet_HWC in ((1, one), (2, two)):
        assert 10 * count < cells_of(80, sheet_HWC) < 18 * count
        assert 1.5 * count < cells_of(200, sheet_HWC)
    with Image.open(BytesIO(draw_atlas(*face, GEOMETRY, "plus", title=""))) as atlas:
        assert atlas.width > 1000 and atlas.height > 600


def test_frames_without_a_face_are_grey_in_the_chart_and_active_ones_coloured() -> None:
    def chart(score: float, valid: bool) -> np.ndarray:
        activity = Activity(
            "face", np.full((50, 18), score, np.float32), np.full(50, valid), 25.0, (10, 30), [12], "OpenFace"
        )
        with Image.open(BytesIO(draw_activity(activity))) as picture:
            return np.asarray(picture.convert("RGB"))

    lost, still, moved = chart(0, False), chart(0, True), chart(5, True)
    assert (lost == 0xE3).all(-1).mean() > 0.3 > (still == 0xE3).all(-1).mean()
    assert (moved[..., 0] < 30).mean() > (still[..., 0] < 30).mean() + 0.3


def test_the_job_prints_one_json_line_and_loads_no_ray(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(views()[0].data)
    (tmp_path / "a.csv").write_bytes(views()[0].csv)
    arguments = ["--video", "a.mp4", "--openface", "a.csv", "--size", "112"]
    code = f"import runpy, sys; sys.argv = ['show_masks.py', *{arguments}]; runpy.run_path({str(JOB)!r}, "
    code += "run_name='__main__'); assert 'ray' not in sys.modules and 'mediapipe' not in sys.modules"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["files"] == ["a-mask.png", "a-units.png", "atlas.png"]
    assert (tmp_path / "masks" / "a-mask.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video", "a.mp4", "--openface", "a.csv", "b.csv"], "2 CSVs for 1 videos"),
        (["--unit", "3"], "unit=3 is none of"),
        (["--unit", "12", "--mask.keep", "nothing"], "unit=12 has no effect"),
        (["--size", "100"], "100 is not a positive multiple of 16"),
        (["--stride", "0"], "stride=0"),
        (["--margin", "0.5"], "margin=0.5"),
        (["--video", "none.mp4"], "there is no file"),
    ],
)
def test_what_cannot_work_is_refused_with_a_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, str(JOB), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and message in done.stderr
    assert "Traceback" not in done.stderr
