"""Catalogs of images, and batches read from them: from folders and archives, on a disk and in a bucket."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from models.tokens import LABELLED_BATCH, PRETRAINING_BATCH, ClipGeometry, check_batch
from pipelines.annotate_video import AnnotateConfig, VideoAnnotator
from pipelines.augmentation import AugmentationConfig
from pipelines.batch_reader import VIDEO_COLUMNS, MicroBatchReader, read_held_out, video_at
from pipelines.catalog import Catalog, load, make_catalog, save
from pipelines.clips import ClipConfig
from pipelines.corpora.registry import Labelled, Labels
from pipelines.face_tracks import FaceTrack
from pipelines.image_cleaning import CleaningConfig
from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labelled_reader import LabelledBatchReader, read_test_batch
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.labelled_videos import labelled_videos
from pipelines.labels import EvaluationProtocol
from pipelines.masks import MaskConfig
from pipelines.order import PADDING
from pipelines.sample import SampleConfig
from pipelines.still_image import pixel_digest
from pipelines.storage import ObjectMissing, Storage
from pipelines.transforms import CropConfig
from tests.pipelines import media
from tests.pipelines.image_corpus import (
    CORPUS,
    PACKINGS,
    SIZE,
    Packing,
    build_here,
    encoded,
    picture,
    pictures,
    rows,
    tarred,
    write,
    zipped,
)

NUMBER = 6
ONE_FRAME = ClipGeometry(frames=1, height=32, width=32, tubelet=1)
SAMPLE = SampleConfig(
    clip=ClipConfig(frames=1, stride=1),
    crop=CropConfig(window=None, size=32),
    mask=MaskConfig("random", 0.5),
    geometry=ONE_FRAME,
)
LABELLED_SAMPLE = LabelledSampleConfig(
    clip=ClipConfig(frames=1, stride=1),
    crop=CropConfig(window=None, size=32),
    augmentation=AugmentationConfig(rand_augment=None, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0),
    geometry=ONE_FRAME,
    repeats=2,
)
MOODS = EvaluationProtocol("moods", "classes", ("calm", "glad"))


def label(table: pa.Table, storage: Storage, withdrawn: object) -> Labelled:
    row_N = np.arange(table.num_rows)
    told = ProtocolLabels("moods", row_N, np.eye(2, dtype=np.float32)[row_N % 2], np.full(len(row_N), "train"))
    return Labelled(with_label_columns(table, [told]), (MOODS,))


LABELLED = SimpleNamespace(**vars(CORPUS), label=label)


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "images")


@pytest.fixture(params=[*PACKINGS, "folder in a bucket", "deflated.zip in a bucket", "shard.tar in a bucket"])
def catalog(request: pytest.FixtureRequest, local: Storage) -> Catalog:
    packing, _, bucket = request.param.partition(" in ")
    place = Storage(request.getfixturevalue("s3_bucket")) if bucket else local
    write(place, pictures(NUMBER), packing)
    return build_here(place, rules=LABELLED).catalog


def shown(number: int) -> np.ndarray:
    """The largest centred square of a picture, which is all of it, at the size of the model: float [H, W, 3]."""
    import cv2

    return cv2.resize(picture(number), (32, 32), interpolation=cv2.INTER_AREA).astype(float)


def test_an_image_is_a_row_of_one_frame(local: Storage) -> None:
    write(local, {"b.png": encoded(picture(1, height=30))}, "folder")
    row = rows(build_here(local).catalog)["a/folder/b.png"]
    assert (row["kind"], row["frames"], row["fps"], row["seconds"]) == ("image", 1, 25.0, 0.0)
    assert (row["height"], row["width"], row["status"], row["subject"]) == (30, SIZE, "ok", "person b")
    assert (row["digest"], row["size"]) == (pixel_digest(picture(1, height=30)), local.size("a/folder/b.png"))
    assert (row["archive_offset"], row["archive_bytes"]) == (-1, 0)


def test_images_in_archives_have_the_rows_of_those_in_a_folder_but_for_their_place(local: Storage) -> None:
    for packing in PACKINGS:
        write(local, pictures(NUMBER), packing)
    catalog = build_here(local).catalog
    assert catalog.counts() == {"ok": NUMBER * len(PACKINGS)}
    names = [name for name in catalog.table.column_names if name not in ("sample_id", "uri", "etag", "archive_offset")]
    by_packing = {}
    for row in catalog.table.to_pylist():
        row["archive_bytes"] = row["archive_bytes"] > 0
        by_packing.setdefault(row["uri"].split("/")[1], []).append([row[name] for name in names])
    folder = by_packing.pop("folder")
    packed = [
        [True if name == "archive_bytes" else value for name, value in zip(names, row, strict=True)] for row in folder
    ]
    assert len(by_packing) == 3 and all(found == packed for found in by_packing.values())


def test_a_catalog_of_images_in_archives_is_read_as_it_was_written(local: Storage, tmp_path: Path) -> None:
    write(local, pictures(3), "shard.tar")
    catalog = build_here(local, cleaning=CleaningConfig(min_side=20)).catalog
    save(catalog, str(tmp_path / "c.parquet"))
    assert load(str(tmp_path / "c.parquet")) == catalog and catalog.cleaning.min_side == 20


def test_the_fingerprint_does_not_tell_how_an_archive_was_packed(local: Storage) -> None:
    write(local, pictures(3), "stored.zip")
    first = build_here(local).catalog
    local.write("a/stored.zip", zipped(pictures(3), zipfile.ZIP_DEFLATED))
    assert build_here(local).catalog.fingerprint == first.fingerprint
    local.write("a/stored.zip", zipped(pictures(3) | {"000.png": encoded(picture(9))}))
    assert build_here(local).catalog.fingerprint != first.fingerprint


def test_images_that_cannot_be_used_keep_their_rows_with_a_reason(local: Storage) -> None:
    good = encoded(picture(0))
    bad = {"cut.png": good[:-40], "empty.png": b"", "page.png": media.ERROR_PAGE, "wide.png": good}
    local.write("x.zip", zipped(bad | {"notes.txt": b"1"}))
    write(local, bad, "folder")
    built = build_here(local, cleaning=CleaningConfig(min_side=SIZE + 1))
    reasons = ["decode", "empty", "not_media", "too_small"]
    assert [row["status"] for row in rows(built.catalog).values()] == reasons * 2
    assert built.ignored == 1
    small = rows(built.catalog)["x.zip/wide.png"]
    assert (small["digest"], small["width"]) == (pixel_digest(picture(0)), SIZE), "what is known of it stays"
    assert "41 are asked for" in small["detail"]


def test_only_corpora_of_images_look_into_archives(local: Storage) -> None:
    write(local, pictures(2), "stored.zip")
    write(local, pictures(2), "folder")
    shut = SimpleNamespace(LAYOUT="", parse=CORPUS.parse, settle=CORPUS.settle)
    built = build_here(local, rules=shut)
    assert list(rows(built.catalog)) == ["a/folder/000.png", "a/folder/001.png"] and built.ignored == 1


def test_a_video_in_an_archive_a_damaged_archive_and_a_name_twice_stop_the_build(local: Storage) -> None:
    videos = SimpleNamespace(**{**vars(CORPUS), "parse": lambda name: Labels("dev", "s", "v")})
    frames = SimpleNamespace(**{**vars(CORPUS), "parse": lambda name: Labels("dev", "s", "v", "x.zip")})
    local.write("x.zip", zipped({"1.mp4": b"1"}))
    for rules in (videos, frames):
        with pytest.raises(ValueError, match=r"x\.zip.* is a video in an archive"):
            build_here(local, rules=rules)
    local.write("x.zip", zipped(pictures(2))[:-50])
    with pytest.raises(ValueError, match=r"x\.zip cannot be read as an archive"):
        build_here(local)
    local.remove("x.zip")
    local.write("y.tar", tarred({"1.png": b"1"})[:1024] + tarred({"1.png": b"2"}))
    with pytest.raises(ValueError, match=r"more than one file named y\.tar/1\.png"):
        build_here(local)


def test_unchanged_images_are_not_decoded_again_under_the_same_cleaning(local: Storage) -> None:
    write(local, pictures(3), "stored.zip")
    write(local, pictures(2), "folder")
    cleaning = CleaningConfig(min_side=SIZE)
    first = build_here(local, cleaning=cleaning)
    local.write("a/stored.zip", zipped(pictures(4) | {"001.png": encoded(picture(8))}))
    again = build_here(local, previous=first.catalog, cleaning=cleaning)
    assert (again.probed, again.reused) == (2, 4)
    assert again.catalog == build_here(local, cleaning=cleaning).catalog, "members that moved are found where they are"
    other = build_here(local, previous=first.catalog, cleaning=CleaningConfig(min_side=SIZE + 1))
    assert other.reused == 0 and other.catalog.counts() == {"ok": 0, "too_small": 6}


def test_cleaning_is_part_of_the_fingerprint_even_where_it_changes_nothing(local: Storage) -> None:
    write(local, pictures(2), "folder")
    plain, cleaned = (build_here(local, cleaning=one).catalog for one in (None, CleaningConfig(min_side=1)))
    assert plain.counts() == cleaned.counts() and plain.fingerprint != cleaned.fingerprint


def test_videos_cannot_be_cleaned(local: Storage) -> None:
    local.write("1.mp4", media.video(12))
    videos = SimpleNamespace(**{**vars(CORPUS), "parse": lambda name: Labels("dev", "s", "v")})
    with pytest.raises(ValueError, match="cleaning has no effect on toy"):
        build_here(local, rules=videos, cleaning=CleaningConfig(min_side=1))


def test_a_training_batch_shows_every_image(catalog: Catalog) -> None:
    videos = catalog.table.select(VIDEO_COLUMNS)
    square = replace(SAMPLE, crop=replace(SAMPLE.crop, scales=(1.0,)))
    batch = MicroBatchReader(videos, catalog.storage, square, epoch=0, fetch_threads=3).read([3, 0, PADDING, 5])
    check_batch(batch, PRETRAINING_BATCH)
    assert batch["rejected_B"].tolist() == [""] * 4 and batch["sample_id_B"].tolist() == [3, 0, PADDING, 5]
    assert batch["clip_BTHWC"].shape == (4, 1, 32, 32, 3) and batch["visible_BRV"].shape == (4, 1, 2)
    for row, number in ((0, 3), (1, 0), (3, 5)):
        assert np.abs(batch["clip_BTHWC"][row, 0] - shown(number)).max() <= 2
    assert not batch["clip_BTHWC"][2].any()


def test_a_held_out_batch_shows_every_image(catalog: Catalog) -> None:
    batch = read_held_out(catalog.table.select(VIDEO_COLUMNS), catalog.storage, SAMPLE, positions_B=[4, 1])
    check_batch(batch, PRETRAINING_BATCH)
    for row, number in ((0, 4), (1, 1)):
        assert np.abs(batch["clip_BTHWC"][row, 0] - shown(number)).max() <= 2


def test_a_labelled_batch_and_test_clips_show_every_image_with_its_label(catalog: Catalog) -> None:
    videos = labelled_videos(catalog, MOODS, LABELLED_SAMPLE)
    batch = LabelledBatchReader(videos, catalog.storage, LABELLED_SAMPLE, epoch=1, fetch_threads=3).read([2, 5])
    check_batch(batch, LABELLED_BATCH)
    assert batch["clip_BRTHWC"].shape == (2, 2, 1, 32, 32, 3) and batch["target_BK"].tolist() == [[1, 0], [0, 1]]
    tests = read_test_batch(videos, [2, 5], storage=catalog.storage, config=LABELLED_SAMPLE, clips=3)
    assert tests["sample_id_V"].tolist() == [2, 5], "windows of one frame are the same one"
    for row, number in ((0, 2), (1, 5)):
        assert np.abs(batch["clip_BRTHWC"][row].astype(float) - shown(number)).max() <= 2
        assert np.abs(tests["clip_VTHWC"][row, 0] - shown(number)).max() <= 2


def test_a_longer_clip_of_an_image_stands_still(local: Storage) -> None:
    write(local, pictures(1), "folder")
    catalog = build_here(local).catalog
    config = replace(SAMPLE, clip=ClipConfig(frames=4), geometry=replace(ONE_FRAME, frames=4))
    batch = read_held_out(catalog.table.select(VIDEO_COLUMNS), catalog.storage, config, positions_B=[0])
    assert (batch["clip_BTHWC"][0] == batch["clip_BTHWC"][0, 0]).all() and batch["clip_BTHWC"].any()


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_image_that_was_replaced_is_a_rejected_row_and_the_others_are_read(local: Storage, packing: Packing) -> None:
    files = {f"{index}.bmp": encoded(picture(index), ".bmp") for index in range(3)}  # all of the same size
    write(local, files, packing)
    catalog = build_here(local).catalog
    write(local, files | {"1.bmp": files["2.bmp"]}, packing)
    reader = MicroBatchReader(catalog.table.select(VIDEO_COLUMNS), catalog.storage, SAMPLE, epoch=0, fetch_threads=1)
    batch = reader.read([0, 1])
    found = [text and json.loads(text) for text in batch["rejected_B"]]
    reasons = {"changed", "short_read"} if packing == "deflated.zip" else {"changed"}  # it inflates to less, or to more
    assert found[0] == "" and found[1]["reason"] in reasons and found[1]["uri"].endswith("1.bmp")
    assert batch["clip_BTHWC"][0].any() and not batch["clip_BTHWC"][1].any()
    with pytest.raises(ValueError, match=r"1\.bmp cannot be used"):
        read_held_out(catalog.table.select(VIDEO_COLUMNS), catalog.storage, SAMPLE, positions_B=[0, 1])


def test_what_arrives_short_is_fetched_once_more(local: Storage) -> None:
    write(local, pictures(2), "shard.tar")
    catalog = build_here(local).catalog

    class Hasty(Storage):
        reads = 0

        def read_range(self, name: str, start: int, end: int) -> bytes:
            Hasty.reads += 1
            return super().read_range(name, start, end - (Hasty.reads == 1))

    reader = MicroBatchReader(catalog.table.select(VIDEO_COLUMNS), Hasty(local.uri), SAMPLE, epoch=0, fetch_threads=1)
    assert reader.read([0])["rejected_B"].tolist() == [""] and Hasty.reads == 2
    local.remove("a/shard.tar")
    assert json.loads(reader.read([0])["rejected_B"][0])["reason"] == "missing"
    with pytest.raises(ObjectMissing):
        local.read("a/shard.tar")


def test_the_face_of_an_image_is_annotated_like_that_of_a_video(
    local: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(local, pictures(1), "stored.zip")
    catalog = build_here(local).catalog
    seen: list[np.ndarray] = []

    def detect(frames: object) -> list[FaceTrack]:
        seen.extend(frames)  # type: ignore[arg-type]
        return []

    monkeypatch.setattr("pipelines.annotate_video.make_detector", lambda config: detect)
    video = video_at(catalog.table.select(VIDEO_COLUMNS), 0)
    annotator = VideoAnnotator(catalog.storage, AnnotateConfig())
    annotated = annotator.annotate(video, annotator.fetch(video, has_csv=False), has_csv=False)
    assert annotated.status == "no_face" and len(seen) == 1
    np.testing.assert_array_equal(seen[0], picture(0))


make = partial(make_catalog, corpus="toy", root="/data")


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("frames", 2, "is an image and ok, but not with one frame"),
        ("kind", "video", "place in an archive that cannot be"),
        ("archive_offset", -1, "place in an archive that cannot be"),
        ("archive_bytes", -5, "place in an archive that cannot be"),
        ("uri", "a/000.png", "place in an archive that cannot be"),
    ],
)
def test_a_row_of_an_image_that_breaks_a_rule_is_refused(
    local: Storage, column: str, value: object, problem: str
) -> None:
    write(local, pictures(1), "shard.tar")
    table = build_here(local).catalog.table
    assert make(table).counts() == {"ok": 1}
    field = table.schema.field(column)
    wrong = table.set_column(table.schema.get_field_index(column), field, pa.array([value], field.type))
    if column == "kind":
        frames = table.schema.field("frames")
        wrong = wrong.set_column(table.schema.get_field_index("frames"), frames, pa.array([2], frames.type))
    with pytest.raises(ValueError, match=problem):
        make(wrong)
