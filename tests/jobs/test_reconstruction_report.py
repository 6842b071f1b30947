"""Sheets, videos and numbers of a whole batch."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.parts.pictures import CELL
from jobs.parts.reconstruction import Reconstruction, reconstruct
from jobs.parts.reconstruction_report import ReconstructionResult, make_reconstruction
from jobs.parts.reconstruction_sheet import draw_panels, draw_reconstruction
from models.config import MaskedAutoencoderConfig
from models.masked_autoencoder import build, masked_ids
from models.targets import Target, target_values
from models.tokens import ClipGeometry
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig, draw
from pipelines.storage import Storage
from pipelines.video import read_frames
from tests.jobs.tiny import moving_frames, tiny_config, tiny_model

CONFIG = tiny_config()


def tiny_batch(clips: int = 3, repeats: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    masks = [draw(CONFIG.model.geometry.grid, CONFIG.mask, rng) for _ in range(clips * repeats)]
    frames = np.stack([moving_frames(4 + i, 64, 64)[i:] for i in range(clips)])
    return {"clip_BTHWC": frames, "visible_BRV": np.stack(masks).reshape(clips, repeats, -1)}


def report(folder: Path, *, max_sheets: int = 4, clips: int = 3) -> ReconstructionResult:
    return make_reconstruction(
        tiny_model(CONFIG),
        tiny_batch(clips),
        Storage(folder),
        names=[f"video {i}" for i in range(clips)],
        checkpoint="tiny, step 12",
        mask=CONFIG.mask,
        clip=CONFIG.clip,
        max_sheets=max_sheets,
    )


def drawn_clip(target: Target, *, frames: int = 16) -> Reconstruction:
    """Truth and noise of a ViT-sized grid, without a model."""
    geometry = ClipGeometry(frames=frames, height=32, width=32)
    visible = torch.arange(0, geometry.num_tokens, 4)
    values = target_values(target, geometry.cube_values)
    noise = torch.randn(geometry.num_tokens - len(visible), values, generator=torch.Generator().manual_seed(0))
    clip = torch.from_numpy(moving_frames(frames, 32, 32))
    masked = masked_ids(visible[None], geometry.num_tokens)[0]
    return reconstruct(clip, visible, noise, masked, geometry=geometry, target=target)


def test_every_clip_is_measured_and_the_first_few_are_drawn(tmp_path: Path) -> None:
    result = report(tmp_path, max_sheets=2)
    assert result.files == ["clip-00.png", "clip-00.mp4", "clip-01.png", "clip-01.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(result.files)
    assert [clip.name for clip in result.clips] == ["video 0", "video 1", "video 2"]
    assert result.clips[2].files == ()


def test_the_headline_metrics_are_means_over_clips(tmp_path: Path) -> None:
    result = report(tmp_path, max_sheets=0)
    assert {"psnr_model", "psnr_zero", "psnr_nearest", "psnr_nearest_raw", "mse_model_motion"} <= set(result.metrics)
    assert result.metrics["psnr_model"] == pytest.approx(np.mean([clip.psnr["model"] for clip in result.clips]))
    assert result.metrics["mse_zero_appearance"] == pytest.approx(
        np.mean([clip.mse["zero/appearance"] for clip in result.clips])
    )


def test_the_first_mask_of_a_clip_is_the_one_used(tmp_path: Path) -> None:
    batch = tiny_batch()
    arguments = {"names": list("abc"), "checkpoint": "", "mask": CONFIG.mask, "clip": CONFIG.clip, "max_sheets": 0}
    both = make_reconstruction(tiny_model(CONFIG), batch, Storage(tmp_path), **arguments)
    first = make_reconstruction(
        tiny_model(CONFIG), {**batch, "visible_BRV": batch["visible_BRV"][:, :1]}, Storage(tmp_path), **arguments
    )
    assert both.metrics == first.metrics


def test_the_model_is_left_in_the_mode_it_came_in(tmp_path: Path) -> None:
    model = tiny_model(CONFIG).train()
    arguments = {"names": list("abc"), "checkpoint": "", "mask": CONFIG.mask, "clip": CONFIG.clip, "max_sheets": 0}
    make_reconstruction(model, tiny_batch(), Storage(tmp_path), **arguments)
    assert model.training


def test_clips_without_a_name_each_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 names for 3 clips"):
        make_reconstruction(
            tiny_model(CONFIG),
            tiny_batch(),
            Storage(tmp_path),
            names=["a", "b"],
            checkpoint="",
            mask=CONFIG.mask,
            clip=CONFIG.clip,
        )


def test_the_video_decodes_to_three_panels_at_twice_the_size(tmp_path: Path) -> None:
    report(tmp_path, max_sheets=1)
    frames = read_frames((tmp_path / "clip-00.mp4").read_bytes(), range(4), expect_frames=4, decoder="pyav")
    height, width = frames.shape[1:3]
    assert height >= 2 * 64 and width >= 3 * 2 * 64 and height % 2 == width % 2 == 0
    left = frames[:, -2 * 64 :, : 2 * 64].astype(float)
    clip = tiny_batch()["clip_BTHWC"][0].repeat(2, axis=1).repeat(2, axis=2)
    assert np.abs(left - clip).mean() < 6


def test_the_sheet_is_a_png_that_people_can_read(tmp_path: Path) -> None:
    report(tmp_path, max_sheets=1)
    image = Image.open(BytesIO((tmp_path / "clip-00.png").read_bytes()))
    assert image.format == "PNG" and image.height > 8 * CELL


@pytest.mark.parametrize(("target", "rows"), [("joint", 8), ("video_mae", 8), ("appearance", 5), ("motion", 7)])
def test_a_target_has_the_rows_it_can_draw(target: Target, rows: int) -> None:
    sheet = draw_reconstruction(drawn_clip(target), title="clip", setting="setting")
    assert 1200 <= sheet.shape[1] <= 1600 and rows == (sheet.shape[0] - 100) // CELL
    labelled = (sheet[120:, 24:180] != 255).any(axis=(1, 2))
    assert (np.diff(np.flatnonzero(labelled)) > CELL / 3).sum() == rows - 1


@pytest.mark.parametrize(("frames", "columns"), [(4, 2), (16, 8), (40, 8)])
def test_at_most_eight_cubes_are_columns(frames: int, columns: int) -> None:
    drawn = drawn_clip("joint", frames=frames)
    sheet = draw_reconstruction(drawn, title="", setting="")
    top = np.flatnonzero((sheet == drawn.clip[0, 0, 0]).all(axis=-1).any(axis=1))[0]
    coloured = (sheet[top + CELL // 2, 24 + 208 :] != 255).any(axis=-1)
    assert coloured.sum() == columns * CELL


def test_an_appearance_video_shows_first_frames_alone() -> None:
    assert len(draw_panels(drawn_clip("appearance"))) == 8
    assert len(draw_panels(drawn_clip("joint"))) == 16


IMAGES = MaskedAutoencoderConfig(
    encoder="face_vit_nano",
    geometry=ClipGeometry(frames=1, height=64, width=64, tubelet=1),
    target="image_mae",
    decoder_width=32,
    decoder_depth=1,
    decoder_heads=2,
)


@pytest.mark.parametrize("changes", [{}, {"loss_tokens": "all"}, {"target": "pixels"}])
def test_single_images_share_sheets_of_eight_without_motion_or_video(tmp_path: Path, changes: dict[str, str]) -> None:
    model, mask = build(replace(IMAGES, **changes)), MaskConfig("random", 0.75)
    rng = np.random.default_rng(0)
    batch = {
        "clip_BTHWC": moving_frames(11, 64, 64)[:, None],
        "visible_BRV": np.stack([draw(IMAGES.geometry.grid, mask, rng) for _ in range(11)])[:, None],
    }
    arguments = {"names": [f"part.zip/{i:05d}.jpg" for i in range(11)], "checkpoint": "tiny", "mask": mask}
    clip = ClipConfig(frames=1, stride=1)
    result = make_reconstruction(model, batch, Storage(tmp_path), clip=clip, max_sheets=2, **arguments)
    assert result.files == ["images-00.png", "images-01.png"]
    assert [image.files for image in result.clips] == [("images-00.png",)] * 8 + [("images-01.png",)] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == result.files
    wide, narrow = (np.asarray(Image.open(tmp_path / name)) for name in result.files)
    assert wide.shape[1] > 8 * CELL + 200 > narrow.shape[1]
    assert (wide.shape[0] - 100) // CELL == 6
    assert {"psnr_model", "psnr_zero", "mse_model_pixels"} <= set(result.metrics)
    few = make_reconstruction(model, batch, Storage(tmp_path / "few"), clip=clip, max_sheets=1, **arguments)
    assert few.files == ["images-00.png"] and few.metrics == result.metrics
