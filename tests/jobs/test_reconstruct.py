"""The reconstruct job, from a checkpoint and a video to pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jobs.parts.catalog import address
from jobs.parts.face_config import FaceCorporaConfig
from jobs.parts.reconstruction_run import draw_masks, mask_for, reconstruct_clips, user_clips
from jobs.parts.recorded_clips import held_out_clips
from jobs.parts.trained import load_trained
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.catalog import save
from pipelines.catalog_union import unite
from pipelines.quarantine import SampleError
from pipelines.storage import Storage
from tests.jobs.tiny import moving_frames, tiny_config, tiny_faces, write_corpus, write_run, write_video
from tests.pipelines.face_samples import faces, track, write_annotations
from tests.pipelines.image_corpus import CORPUS, build_here, pictures, write

JOB = Path(__file__).parent.parent.parent / "jobs" / "reconstruct.py"


def run(tmp_path: Path, *videos: str, name: str = "run", **options: object) -> dict[str, object]:
    arguments = {"policy": None, "ratios": (0.75,), "max_sheets": 2, "output": str(tmp_path / "out")} | options
    return reconstruct_clips(str(tmp_path / name), [tmp_path / name for name in videos], **arguments)


def test_each_video_is_drawn_under_each_ratio(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    write_video(tmp_path / "a.mp4")
    write_video(tmp_path / "b.mp4", height=90, width=160)
    result = run(tmp_path, "a.mp4", "b.mp4", ratios=(0.5, 0.75))
    settings = ["region_tube-0.5", "region_tube-0.75"]
    kinds = [f"clip-{i:02d}.{kind}" for i in range(2) for kind in ("png", "mp4")]
    assert result["files"] == [f"{setting}/{file}" for setting in settings for file in kinds]
    assert all((tmp_path / "out" / file).stat().st_size > 1000 for file in result["files"])
    assert [(Path(clip["name"]).name, clip["mask"]) for clip in result["clips"]] == [
        (name, setting) for setting in settings for name in ("a.mp4", "b.mp4")
    ]
    for setting in settings:
        rows = [clip["psnr_zero"] for clip in result["clips"] if clip["mask"] == setting]
        assert result["mean"][setting]["psnr_zero"] == pytest.approx(np.mean(rows), abs=1e-3)


def test_the_job_prints_one_json_line_and_loads_no_ray(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    write_video(tmp_path / "a.mp4")
    arguments = ["--checkpoint", "run", "--video", "a.mp4", "--mask-ratio", "0.75"]
    code = f"import runpy, sys; sys.argv = ['reconstruct.py', *{arguments}]; runpy.run_path({str(JOB)!r}, "
    code += "run_name='__main__'); assert 'ray' not in sys.modules and 'deepspeed' not in sys.modules"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "reconstructions" / "result.json").read_text()) == result
    assert result["clips"][0]["name"] == "a.mp4"


def test_without_a_video_the_held_out_clips_of_the_run_are_measured_and_a_few_drawn(tmp_path: Path) -> None:
    home = tmp_path / "home"
    catalog = write_corpus(home, videos=3)
    config = tiny_config(root=str(home / "videos"))
    write_run(home / "runs" / "tiny", config, catalog=catalog.fingerprint)
    arguments = {"policy": None, "ratios": (0.75,), "max_sheets": 1, "output": str(tmp_path / "out")}
    result = reconstruct_clips(str(home / "runs" / "tiny"), [], **arguments)
    assert [clip["name"] for clip in result["clips"]] == [f"test/{i}.mp4" for i in range(3)]
    assert result["files"] == ["region_tube-0.75/clip-00.png", "region_tube-0.75/clip-00.mp4"]


def test_held_out_clips_have_the_masks_of_the_held_out_loss(tmp_path: Path) -> None:
    catalog = write_corpus(tmp_path, videos=3)
    config = tiny_config(root=str(tmp_path / "videos"))
    write_run(tmp_path / "runs" / "tiny", config, catalog=catalog.fingerprint)
    batch, _ = held_out_clips(load_trained(str(tmp_path / "runs" / "tiny")))
    masks = draw_masks(batch["sample_id_B"], config, mask_for(config, None, config.mask.ratio))
    np.testing.assert_array_equal(batch["visible_BRV"], masks)


def test_a_run_whose_catalog_is_gone_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "mine"))
    write_run(tmp_path / "home" / "runs" / "tiny", tiny_config(root=str(tmp_path / "home" / "videos")))
    write_corpus(tmp_path / "home")  # a catalog of the same layout, but not the one of the run
    with pytest.raises(ValueError, match=r"home/catalogs or .*mine/catalogs.*--video"):
        run(tmp_path / "home" / "runs", name="tiny")


def test_a_video_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    write_video(tmp_path / "short.mp4", frames=5)
    with pytest.raises(SampleError, match=r"too_short: .*short\.mp4: 5 frames"):
        run(tmp_path, "short.mp4")
    with pytest.raises(SampleError, match=r"missing: .*none\.mp4"):
        run(tmp_path, "none.mp4")


def test_a_mask_that_the_encoder_cannot_take_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    write_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="use mask.policy=region_tube"):
        run(tmp_path, "a.mp4", policy="tube")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("policy", ["tube", "random", "frame"])
def test_a_vit_takes_masks_apart_from_training(policy: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config("video_vit_nano"))
    write_video(tmp_path / "a.mp4")
    result = run(tmp_path, "a.mp4", policy=policy, ratios=(0.5,))
    assert list(result["mean"]) == [f"{policy}-0.5"]


@pytest.mark.parametrize(("encoder", "policy"), [("lgi_former_nano", "region_tube"), ("video_vit_nano", "random")])
def test_a_run_whose_masks_keep_an_action_unit_is_shown_plain_masks(encoder: str, policy: str) -> None:
    config = replace(tiny_config(encoder, root="videos"), mask=AUMaskConfig())
    config = replace(config, corpus=replace(config.corpus, annotations="faces"))
    assert mask_for(config, None, 0.75).policy == policy


def test_a_run_whose_crops_follow_the_face_shows_a_named_video_as_its_centred_square_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(tiny_config(), crop=AlignConfig(size=72))
    write_run(tmp_path / "run", config)
    path = write_video(tmp_path / "a.mp4", height=90, width=160)
    assert run(tmp_path, "a.mp4")["clips"][0]["files"] and "centred square" in caplog.text
    (clip_THWC,), _ = user_clips([path], config)
    middle_THWC = moving_frames(height=90, width=160)[2:9:2, :, 35:125].astype(float)
    assert clip_THWC.shape == (4, 64, 64, 3) and np.abs(clip_THWC.mean((1, 2)) - middle_THWC.mean((1, 2))).max() < 4


def test_the_held_out_clips_of_such_a_run_follow_the_face_and_leave_out_who_has_none(tmp_path: Path) -> None:
    catalog = write_corpus(tmp_path, videos=3)
    place = Storage(tmp_path / "catalogs" / "annotations" / "folder-0123456789ab")
    found = [faces("test/0.mp4", track(12)), faces("test/1.mp4"), faces("test/2.mp4", track(14))]
    write_annotations(place, [found], catalog=catalog.fingerprint)
    for name, crop in (("tiny", AlignConfig(size=72)), ("window", tiny_config().crop)):
        config = replace(tiny_config(root=str(tmp_path / "videos")), crop=crop)
        write_run(tmp_path / "runs" / name, config, catalog=catalog.fingerprint)
    batch, names = held_out_clips(load_trained(str(tmp_path / "runs" / "tiny")))
    assert names == ["test/0.mp4", "test/2.mp4"] and batch["sample_id_B"].tolist() == [0, 2]
    assert len(held_out_clips(load_trained(str(tmp_path / "runs" / "window")))[1]) == 3


def test_images_are_drawn_by_a_model_of_images_on_sheets_of_eight(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_faces())
    names = [f"{index}.png" for index in range(9)]
    for name, frame in zip(names, moving_frames(9, 90, 70), strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    result = run(tmp_path, *names, max_sheets=1)
    assert result["files"] == ["random-0.75/images-00.png", "random-0.75/images-01.png"]
    assert all((tmp_path / "out" / file).stat().st_size > 1000 for file in result["files"])
    assert [Path(clip["name"]).name for clip in result["clips"]] == names


def test_a_video_is_refused_by_a_model_of_images_and_an_image_by_one_of_videos(tmp_path: Path) -> None:
    write_run(tmp_path / "faces", tiny_faces())
    write_run(tmp_path / "videos", tiny_config())
    write_video(tmp_path / "a.mp4")
    Image.fromarray(moving_frames(1)[0]).save(tmp_path / "a.jpg")
    with pytest.raises(SampleError, match=r"a\.mp4: no image by its name; the model draws images: give \.jpg"):
        run(tmp_path, "a.mp4", name="faces")
    with pytest.raises(SampleError, match=r"a\.jpg: an image; the model draws clips of 4 frames: give videos"):
        run(tmp_path, "a.jpg", name="videos")
    assert not (tmp_path / "out").exists()


def test_without_a_file_the_held_out_images_of_the_union_are_drawn_each_once(tmp_path: Path) -> None:
    held_out = SimpleNamespace(**vars(CORPUS) | {"parse": lambda name: CORPUS.parse(name)._replace(split="test")})
    catalogs = {}
    for name, packing, count in (("affectnet", "folder", 2), ("raf_db", "stored.zip", 3)):
        write(Storage(tmp_path / name), pictures(count), packing)
        catalogs[name] = build_here(Storage(tmp_path / name), rules=held_out).catalog
    union = unite(catalogs)
    save(union, address(union, Storage(tmp_path)))
    corpus = FaceCorporaConfig(names=tuple(catalogs), roots={name: one.root for name, one in catalogs.items()})
    write_run(tmp_path / "runs" / "tiny", tiny_faces(corpus=corpus), catalog=union.fingerprint)
    result = run(tmp_path, name="runs/tiny")
    names = ["affectnet/a/folder/000.png", "affectnet/a/folder/001.png", "raf_db/a/stored.zip/002.png"]
    assert [clip["name"] for clip in result["clips"]] == names and len(result["files"]) == 1


def test_masks_are_the_same_for_the_same_place_in_the_list() -> None:
    config = tiny_config()
    mask = mask_for(config, None, 0.5)
    three, two = draw_masks(np.arange(3), config, mask), draw_masks(np.arange(2), config, mask)
    np.testing.assert_array_equal(three[:2], two)
    assert not np.array_equal(three[0], three[1])
    assert mask.region == config.model.region
