"""The corpora of a pre-training on face images as one, and what the stream and the run are told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.parts.catalog import find_catalog
from jobs.parts.face_config import FaceCorporaConfig
from jobs.parts.face_pretraining import FacePretraining, known_union, prepare, unite_corpora
from jobs.parts.held_out import read_batch
from pipelines.catalog import Catalog, load
from pipelines.image_cleaning import CleaningConfig
from pipelines.storage import Storage
from pipelines.video_stream import build_stream
from tests.jobs.face_corpora import DAMAGED, DUPLICATE, HELD_OUT, LEARNED, catalog_faces, write_faces
from tests.jobs.tiny import tiny_faces

WEIGHTS = {"raf_db": 0.5, "celeba": 2.0}


@pytest.fixture
def home(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "home")


@pytest.fixture
def corpus(tmp_path: Path, home: Storage) -> FaceCorporaConfig:
    """With the catalogs of both, so that nothing has to be built."""
    config = write_faces(tmp_path, weights=WEIGHTS)
    catalog_faces(config, home)
    return config


def status_of(catalog: Catalog) -> dict[str, tuple[str, str]]:
    rows = catalog.table.select(["uri", "status", "detail"]).to_pylist()
    return {row["uri"]: (row["status"], row["detail"]) for row in rows}


def work_of(corpus: FaceCorporaConfig, home: Storage) -> FacePretraining:
    return prepare(tiny_faces(corpus=corpus), home)


def test_the_corpora_are_one_catalog_each_image_once_which_is_kept_and_found_again(
    corpus: FaceCorporaConfig, home: Storage
) -> None:
    uri, union = unite_corpora(corpus, home)
    assert uri == home.full(f"catalogs/raf_db+celeba-{union.fingerprint[:12]}.parquet") and load(uri) == union
    told = status_of(union)
    assert {name for name, (status, _) in told.items() if status == "ok"} == {
        *LEARNED["raf_db"],
        *LEARNED["celeba"],
        *HELD_OUT,
    }
    assert told[DUPLICATE] == ("duplicate", LEARNED["raf_db"][0]) and told[DAMAGED][0] == "decode"
    assert union.roots == {name: Storage(root).uri for name, root in corpus.roots.items()}
    assert unite_corpora(corpus, home) == (uri, union)


def test_of_an_image_that_both_have_the_copy_of_the_first_is_kept(corpus: FaceCorporaConfig, home: Storage) -> None:
    _, union = unite_corpora(replace(corpus, names=("celeba", "raf_db")), home)
    assert status_of(union)[LEARNED["raf_db"][0]] == ("duplicate", DUPLICATE)
    assert status_of(union)[DUPLICATE] == ("ok", "")


def test_a_union_is_known_once_all_its_catalogs_are_and_no_sooner(corpus: FaceCorporaConfig, home: Storage) -> None:
    known = known_union(corpus, home)
    assert known is not None and known == unite_corpora(corpus, home)
    celeba = find_catalog("celeba", corpus.roots["celeba"], home)
    assert celeba is not None
    home.remove(celeba[0].removeprefix(f"{home.uri}/"))
    assert known_union(corpus, home) is None


def test_catalogs_that_were_cleaned_otherwise_are_not_the_ones_asked_for(
    corpus: FaceCorporaConfig, home: Storage
) -> None:
    assert known_union(replace(corpus, cleaning=CleaningConfig(min_side=8)), home) is None
    assert known_union(FaceCorporaConfig(names=corpus.names), home) is None, "nor are those of other roots"


def test_the_stream_visits_images_by_the_weight_of_their_corpus(corpus: FaceCorporaConfig, home: Storage) -> None:
    work = work_of(corpus, home)
    config = work.stream(1).config
    assert config.weights == (("celeba", 2.0), ("raf_db", 0.5)) and config.catalog == work.catalog_uri
    stream = build_stream(config)
    assert stream.samples_per_epoch == 0.5 * len(LEARNED["raf_db"]) + 2 * len(LEARNED["celeba"])
    plain = build_stream(work_of(replace(corpus, weights={}), home).stream(1).config)
    assert plain.samples_per_epoch == len(LEARNED["raf_db"]) + len(LEARNED["celeba"])
    assert plain.fingerprint != stream.fingerprint, "a checkpoint of the one is refused by the other"


def test_a_weight_of_a_corpus_without_a_usable_image_is_refused(corpus: FaceCorporaConfig, home: Storage) -> None:
    work = work_of(corpus, home)
    held_out = replace(work.stream(1).config, weights=(("fer2013", 2.0),))
    with pytest.raises(ValueError, match="the weight 2 of fer2013 has no effect: no usable sample is of it"):
        build_stream(held_out)


def test_a_run_names_its_corpora_its_people_and_the_images_it_cannot_use(
    corpus: FaceCorporaConfig, home: Storage
) -> None:
    work = work_of(corpus, home)
    data = work.data()
    assert (data["corpus"], data["started_from"]) == ("raf_db+celeba", None)
    raf_db = [f"raf_db/train_{index:05d}" for index in range(1, 7)]
    assert data["subjects"] == ["celeba/1", "celeba/2", "celeba/3", *raf_db]
    assert {row["uri"]: row["reason"] for row in work.unusable()} == {DUPLICATE: "duplicate", DAMAGED: "decode"}


def test_held_out_images_are_those_of_the_test_split_of_all_corpora(corpus: FaceCorporaConfig, home: Storage) -> None:
    work = work_of(corpus, home)
    ((name, probe),) = work.probes()
    batch, uris = read_batch(probe.config), work.catalog.table["uri"].to_pylist()
    assert name == "held_out" and {uris[index] for index in batch["sample_id_B"]} == set(HELD_OUT)
    assert batch["clip_BTHWC"].shape == (2, 1, 64, 64, 3)
