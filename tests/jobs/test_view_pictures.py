"""Sheets and grids of reconstructions across views, and words and charts of masks, from a tiny untrained model."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.parts import view_pictures
from jobs.parts.mask_words import counts_sentence, mask_sentence
from jobs.parts.pictures import CELL, GAP, LABELS, MARGIN, Row
from jobs.parts.reconstruction import PSNR_CEILING
from jobs.parts.reconstruction_sheet import PIXELS_NOTE
from jobs.parts.unit_chart import draw_units
from jobs.parts.view_grid import draw_grid, grid_take
from jobs.parts.view_pictures import (
    NOT_PREDICTED,
    NOT_TOLD,
    NOTE,
    WHAT_DIFFERS,
    ShownTake,
    draw_views,
    model_notes,
    take_title,
)
from models.config import MultiViewConfig
from models.cubes import to_cubes
from models.masked_autoencoder import masked_ids
from models.multi_view import MultiViewAutoencoder, build
from models.targets import make_target
from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import Fallback, MaskRecord
from pipelines.corpora.mead import VIEWS, ViewName
from pipelines.mask_counts import MaskCounts, ViewMasks
from pipelines.storage import Storage
from pipelines.take_views import TakeViews

GEOMETRY = ClipGeometry(frames=4, height=64, width=64)
CONFIG = MultiViewConfig(
    encoder="video_vit_nano",
    geometry=GEOMETRY,
    decoder_width=32,
    decoder_depth=1,
    decoder_heads=1,
    target_view_embedding="learned",
    loss_tokens="all",
)
NAME = ViewName("M003", "front", "happy", 3, 1)
RECORD = MaskRecord(unit=12, kept=5, dropped=0, skipped=0, fallback=Fallback.none)
VISIBLE = np.arange(0, 32, 3, dtype=np.int32)
MASKED = sorted(set(range(32)) - set(VISIBLE.tolist()))


def model(**changes: object) -> MultiViewAutoencoder:
    torch.manual_seed(0)
    return build(replace(CONFIG, **changes))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 3), np.uint8)


def take(*, lacking: tuple[int, ...] = ()) -> TakeViews:
    return TakeViews(tuple(None if view in lacking else noise(view) for view in range(7)), VISIBLE, RECORD)


def batch(size: int) -> dict:
    return {
        "clip_BTHWC": np.stack([noise(i) for i in range(size)]),
        "target_BTHWC": np.stack([noise(10 + i) for i in range(size)]),
        "input_view_B": np.zeros(size, np.int32),
        "target_view_B": np.full(size, 2, np.int32),
        "visible_BRV": np.tile(VISIBLE, (size, 2, 1)),
        "sample_id_B": np.arange(size),
        "rejected_B": np.full(size, "", object),
    }


def knowing(task: MultiViewAutoencoder, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the model answer with the true target of these clips; returns the number of rows of every question."""
    asked = []

    def reconstruct(clip_BTHWC, visible_BV, target_view_B):
        asked.append(len(clip_BTHWC))
        cubes = to_cubes(torch.as_tensor(np.stack(clips)), GEOMETRY)
        ids = torch.arange(32).expand(len(clips), 32)
        if task.config.loss_tokens == "masked":
            ids = masked_ids(visible_BV.long(), 32)
        return make_target(task.config.target, cubes)[torch.arange(len(clips))[:, None], ids], ids

    monkeypatch.setattr(task, "reconstruct", reconstruct)
    return asked


def cell(sheet: np.ndarray, row_from_below: int, column: int) -> np.ndarray:
    """The middle of a cell; captions above make rows easier to count from below."""
    bottom = sheet.shape[0] - MARGIN - (row_from_below - 1) * (CELL + GAP)
    left = MARGIN + LABELS + column * (CELL + GAP)
    return sheet[bottom - CELL // 2, left + CELL // 2]


def test_as_many_sheets_are_written_as_there_are_words_and_all_takes_are_measured(tmp_path: Path) -> None:
    words = [ShownTake(take_title(NAME), mask_sentence(RECORD, len(VISIBLE)))] * 2
    output = Storage(str(tmp_path))
    drawn = draw_views(model(), batch(5), output, takes=words, checkpoint="tiny, step 1")
    assert drawn.files == ("take-00.png", "take-01.png") and sorted(p.name for p in tmp_path.iterdir()) == [
        *drawn.files
    ]
    assert set(drawn.metrics) == {"psnr_model", "psnr_zero"} and 0 < drawn.metrics["psnr_model"] < 30
    assert all(5 < value < 30 for value in drawn.metrics.values())
    width, height = Image.open(BytesIO(output.read("take-00.png"))).size
    assert width >= 2 * MARGIN + LABELS + 2 * CELL and height > 5 * CELL


def test_a_perfect_prediction_reaches_the_ceiling_in_every_view(monkeypatch: pytest.MonkeyPatch) -> None:
    task, views = model(), take()
    knowing(task, list(views.clips), monkeypatch)
    grid = grid_take(task, NAME, views)
    assert [psnr["model"] for psnr in grid.psnr] == [PSNR_CEILING] * 7
    assert all(psnr["zero"] < 30 for psnr in grid.psnr)
    assert all(np.array_equal(*pair) for pair in zip(grid.true, grid.drawn, strict=True))


def test_the_grid_shows_the_middle_instant_and_what_a_take_lacks_is_grey() -> None:
    views = take(lacking=(2, 5))
    grid = grid_take(model(), NAME, views)
    for view in range(7):
        if view in (2, 5):
            assert grid.psnr[view] is None and (grid.true[view] == 128).all() and (grid.drawn[view] == 128).all()
        else:
            assert np.array_equal(grid.true[view], views.clips[view][2]) and 0 < grid.psnr[view]["model"] < 30
    hidden = (grid.seen == 128).all(-1)
    assert 0.4 < hidden.mean() < 0.9
    assert np.array_equal(grid.seen[~hidden], views.clips[0][2][~hidden])


def test_where_only_masked_tokens_are_predicted_other_views_have_grey_holes_and_the_input_has_its_own_pixels() -> None:
    views = take()
    grid = grid_take(model(loss_tokens="masked"), NAME, views)
    seen = ~(grid.seen == 128).all(-1)
    assert np.array_equal(grid.drawn[0][seen], views.clips[0][2][seen])
    assert all((grid.drawn[view][seen] == 128).all() for view in range(1, 7))


@pytest.mark.parametrize(("told", "rows"), [("learned", 7), ("off", 1)])
def test_a_decoder_that_is_not_told_views_is_asked_once_and_the_picture_says_so(
    told: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, views = model(target_view_embedding=told), take()
    asked = knowing(task, list(views.clips)[:rows], monkeypatch)
    grid = grid_take(task, NAME, views)
    assert asked == [rows]
    assert (grid.psnr[6]["model"] == PSNR_CEILING) is (told == "learned")
    notes = model_notes(task.config)
    assert NOTE in notes and NOT_PREDICTED not in notes
    assert (f"{NOT_TOLD} {WHAT_DIFFERS}" in notes) is (told == "off")
    sizes = {
        draw_grid([grid], replace(task.config, target_view_embedding=t), setting="", notes=[]).shape[0]
        for t in ("learned", "off")
    }
    assert len(sizes) == 2, "one more line of caption"


@pytest.mark.parametrize(
    ("target", "note", "zero"),
    [("video_mae", NOTE, "every cube its mean"), ("pixels", PIXELS_NOTE, "ImageNet's mean colour")],
)
def test_a_sheet_tells_what_its_target_lends_the_picture(
    target: str, note: str, zero: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = []

    def draw_sheet(rows: list[Row], **told: object) -> np.ndarray:
        sheets.append((rows, told["caption"]))
        return noise(0)[0]

    monkeypatch.setattr(view_pictures, "draw_sheet", draw_sheet)
    task, words = model(target=target, target_view_embedding="off"), [ShownTake(take_title(NAME), "")]
    draw_views(task, batch(1), Storage(tmp_path), takes=words, checkpoint="tiny, step 1")
    [(rows, caption)] = sheets
    assert note in caption and zero in next(row.details for row in rows if row.label == "Zero predictor")
    assert any("true pixels" in line for line in caption) is (target == "video_mae")


def test_the_grid_has_two_rows_for_each_take_and_a_column_for_each_view() -> None:
    flat = [np.full((4, 64, 64, 3), 20 + 30 * view, np.uint8) for view in range(7)]
    views = TakeViews((*flat[:4], None, *flat[5:]), VISIBLE, RECORD)
    grid = grid_take(model(), NAME, views)
    one, two = (draw_grid([grid] * count, CONFIG, setting="tiny", notes=["a note"]) for count in (1, 2))
    assert two.shape[0] - one.shape[0] == 2 * (CELL + GAP)
    for view in range(7):
        expected = 128 if view == 4 else 20 + 30 * view
        for row in (2, 4):
            assert (cell(two, row, 1 + view) == expected).all()
        assert np.abs(cell(two, 1, 1 + view).astype(int) - expected).max() <= 1, "a flat cube is its mean"
    assert (cell(two, 1, 0) == 255).all()


def test_broken_predictions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = model()
    with torch.no_grad():
        next(task.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        grid_take(task, NAME, take())


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (RECORD, "keeps AU12, lip corner puller: 5 of its tokens and 6 others."),
        (RECORD._replace(dropped=3), "5 of its tokens (3 more found no room) and 6 others."),
        (RECORD._replace(fallback=Fallback.strongest), "none is active"),
        (
            MaskRecord(0, 0, 0, 0, Fallback.no_landmarks),
            "No face was found in the clip: a plain mask, 11 visible tokens.",
        ),
        (MaskRecord(0, 0, 0, 0, Fallback.none), "a plain one, 11 visible tokens."),
    ],
)
def test_a_mask_is_told_in_words(record: MaskRecord, words: str) -> None:
    assert words in mask_sentence(record, 11)


def counts(*, empty: bool = False) -> MaskCounts:
    units = dict.fromkeys(ACTION_UNITS, 0) | {25: 6, 12: 2}
    fallbacks = dict.fromkeys(Fallback, 0) | {Fallback.none: 7, Fallback.strongest: 1, Fallback.no_landmarks: 2}
    some = ViewMasks(10, units, fallbacks, kept=40, dropped=5, skipped=0)
    none = ViewMasks(0, dict.fromkeys(ACTION_UNITS, 0), dict.fromkeys(Fallback, 0), kept=0, dropped=0, skipped=0)
    return MaskCounts(70, 0, 100, {view: none if empty or view == "top" else some for view in VIEWS})


def test_counts_are_told_in_one_line() -> None:
    views = counts().views
    assert counts_sentence(views["front"]) == (
        "10 drawn: an active unit 70%, none active: the strongest 10%, no face found: plain mask 20%; "
        "most often AU25 60%, AU12 20%; 0.5 tokens dropped per mask"
    )
    assert counts_sentence(views["top"]) == "none drawn"


def test_the_chart_of_units_is_drawn_for_views_with_and_without_masks() -> None:
    some, none = (Image.open(BytesIO(draw_units(counts(empty=empty), title="tiny"))) for empty in (False, True))
    dark = [
        (np.asarray(image.convert("RGB"), int)[..., 2] - np.asarray(image.convert("RGB"), int)[..., 0] > 60).mean()
        for image in (some, none)
    ]
    assert some.width > 800 and dark[0] > 0.02 > dark[1]
