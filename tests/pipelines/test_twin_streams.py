"""Every protocol of every labelled corpus of videos, from the names of its twin to a training batch and test clips."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from models.tokens import LABELLED_BATCH, ClipGeometry, check_batch
from pipelines.augmentation import AugmentationConfig
from pipelines.catalog import OK, load, save
from pipelines.clips import ClipConfig
from pipelines.corpora.registry import LabelledVideoName
from pipelines.labelled_reader import LabelledBatchReader, read_test_batch
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.labelled_stream import LabelledStreamConfig, build_stream, chosen_videos
from pipelines.labelled_videos import check_all_usable, in_parts, labelled_videos
from pipelines.storage import Storage
from pipelines.transforms import CropConfig
from tests.pipelines.stub_twin import catalog_of, twin_of, write_stub

SAMPLE = LabelledSampleConfig(
    clip=ClipConfig(frames=4, stride=1),
    crop=CropConfig(window=None, size=32),
    augmentation=AugmentationConfig(rand_augment=None),
    geometry=ClipGeometry(frames=4, height=32, width=32),
)


@pytest.mark.parametrize("name", get_args(LabelledVideoName))
def test_every_protocol_trains_on_what_it_does_not_test(name: LabelledVideoName, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "twin")
    write_stub(storage, twin_of(name))
    catalog, uri = catalog_of(storage, name), str(tmp_path / "catalog.parquet")
    save(catalog, uri)
    assert load(uri) == catalog and set(catalog.table["status"].to_pylist()) == {OK}
    for protocol in catalog.protocols:
        videos = labelled_videos(catalog, protocol, SAMPLE)
        check_all_usable(videos)
        tested = 0
        for test_part in protocol.parts if protocol.folds else ("test",):
            parts = tuple(part for part in protocol.parts if part != test_part) if protocol.folds else ("train",)
            config = LabelledStreamConfig(uri, protocol=protocol.name, parts=parts, sample=SAMPLE)
            stream, (learned, _) = build_stream(config), chosen_videos(catalog, config)
            held_out = in_parts(videos, (test_part,))
            assert stream.samples_per_epoch == learned.num_rows > 0
            assert not set(learned["sample_id"].to_pylist()) & set(held_out["sample_id"].to_pylist())
            tested += held_out.num_rows
        whole = videos if protocol.folds else in_parts(videos, ("test",))
        assert tested == whole.num_rows, "each once"

        batch = LabelledBatchReader(learned, catalog.storage, SAMPLE, epoch=0, fetch_threads=1).read([0, 1])
        check_batch(batch, LABELLED_BATCH)
        assert batch["target_BK"].shape == (2, len(protocol.classes)) and not any(batch["rejected_B"])
        clips = read_test_batch(held_out, [0], storage=catalog.storage, config=SAMPLE, clips=2)
        assert clips["clip_VTHWC"].shape == (2, *SAMPLE.clip_shape)
