"""The plan of a chain: what would run and how much it is, told from the ledger and the catalogs alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.parts.chain import run_stages
from jobs.parts.chain_config import ChainConfig, Stage
from jobs.parts.chain_ledger import LEDGER, Ledger, read_ledger
from jobs.parts.chain_plan import NOT_YET, Planned, plan
from jobs.parts.chain_run import plan_chain
from jobs.parts.command_line import Command
from jobs.parts.feature_config import VisionConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.parts.pretrain_config import CorpusConfig
from jobs.parts.sweep_config import FinetuneSweepConfig
from jobs.recipes import faces, finetuning, frames, heads, mead, voxceleb
from jobs.recipes.chain_mae_dfer import mae_dfer
from pipelines.catalog import Catalog, make_catalog, save
from pipelines.storage import Storage
from pipelines.synthetic.config import MeadConfig, SyntheticConfig
from pipelines.synthetic.corpus import corpus_place
from tests.jobs.chain_fakes import LOOKUPS, ORDER, FakeJobs, Killed, chain
from tests.jobs.face_corpora import HELD_OUT, catalog_faces, write_faces
from tests.jobs.face_corpora import LEARNED as LEARNED_FACES
from tests.jobs.tiny import write_corpus
from tests.pipelines.affect_corpus import FRAMES, LEARNED, expression, has_image, write_catalog
from tests.pipelines.labelled_corpus import write_labelled
from tests.pipelines.take_corpus import render


def planned(home: Storage, stages: tuple[Stage, ...]) -> dict[str, Planned]:
    place = home.child("chains", "small")
    return {row.stage: row for row in plan(stages, read_ledger(place, "small"), home)}


def run(home: Storage, jobs: FakeJobs, stages: tuple[Stage, ...]) -> None:
    ledger = Ledger(home.child("chains", "small"), "small", ORDER)
    run_stages(stages, ledger, jobs.runners())


@pytest.fixture
def home(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_of_a_chain_that_was_never_begun_the_first_stages_would_run_and_the_others_wait(home: Storage) -> None:
    rows = planned(home, chain())
    assert [rows[name].state for name in ORDER] == ["would run"] * 2 + ["waits"] * 5
    assert rows["pretrained"].words == "waits for labelled, pretrain"
    assert rows["videos"].size == "not known yet"
    assert rows["pretrain"].size == f"1 epoch, the rest {NOT_YET}"
    assert rows["pretrained"].size == f"1 run x 1 epoch, the rest {NOT_YET}"
    assert rows["table"].counts == {"cells": 2}


def test_what_is_done_is_told_from_what_goes_on_failed_or_changed(home: Storage) -> None:
    jobs = FakeJobs()
    run(home, jobs, chain())
    rows = planned(home, chain())
    assert [rows[name].state for name in ORDER] == ["looked at again"] * 2 + ["done"] * 5

    other = chain(pretrain=replace(voxceleb.nano(), passes_per_epoch=3))
    rows = planned(home, other)
    assert rows["pretrain"].state == "changed, again"
    assert rows["export"].words == rows["pretrained"].words == "waits for pretrain"
    assert rows["scratch"].state == "done"

    jobs.raises["pretrain"] = ValueError("no")
    run(home, jobs, other)
    assert planned(home, other)["pretrain"].state == "failed, again"

    jobs.raises["pretrain"] = Killed()
    with pytest.raises(Killed):
        run(home, jobs, other)
    assert planned(home, other)["pretrain"].state == "goes on"


def as_voxceleb(found: Catalog, root: str) -> Catalog:
    """Its videos as those of the training split of another corpus."""
    import pyarrow as pa

    table = found.table.set_column(
        found.table.column_names.index("split"), "split", pa.array(["dev"] * found.table.num_rows)
    )
    return make_catalog(table, corpus="voxceleb2", root=root)


def test_sizes_come_from_the_catalog_where_there_is_one(home: Storage, tmp_path: Path) -> None:
    synthetic = corpus_place(
        home.child("corpora"), SyntheticConfig(speakers_dev=12, speakers_test=4, clips_per_speaker=3)
    )
    catalog = as_voxceleb(write_corpus(tmp_path, videos=3), synthetic.uri)
    save(catalog, home.full("catalogs/voxceleb2-0123456789ab.parquet"))
    pretrain = replace(voxceleb.nano(), passes_per_epoch=5)
    assert pretrain.corpus == CorpusConfig(name="synthetic", speakers=12, clips_per_speaker=3)
    rows = planned(home, chain(pretrain=pretrain))
    assert rows["videos"].size == "3 videos or images"
    assert rows["pretrain"].counts == {"epochs": 1, "samples": 15}
    assert rows["pretrain"].size == "1 epoch x 15 samples"


def test_a_fine_tuning_is_as_many_runs_as_folds_and_seeds_on_the_videos_outside_a_fold(
    home: Storage, tmp_path: Path
) -> None:
    catalog = write_labelled(tmp_path / "videos")
    save(catalog, home.full("catalogs/table-0123456789ab.parquet"))
    corpus = LabelledCorpusConfig(name="table", root=str(tmp_path / "videos"))
    config = replace(finetuning.nano(), corpus=corpus, seeds=2, passes_per_epoch=5)
    row = planned(home, chain(finetune=config))["scratch"]
    assert row.counts == {"runs": 3 * 2, "epochs": 1, "samples": 6 * 5}, "9 videos in three folds"
    assert row.size == "6 runs x 1 epoch x 30 samples"
    sweep = FinetuneSweepConfig(recipe="a", space=("optimizer.base_lr=0.1,0.2",), finetune=replace(config, folds=(1,)))
    (swept,) = plan((Stage("sweep", "sweep_finetuning", sweep),), {}, home)
    assert swept.size == "2 trials x 2 runs x 1 epoch x 30 samples"


def test_frames_features_and_heads_are_counted_once_the_catalog_of_their_videos_is_there(
    home: Storage, tmp_path: Path
) -> None:
    _, catalog = write_catalog(tmp_path)
    corpus = LabelledCorpusConfig(name="aff_wild2", root=str(tmp_path / "corpus"))
    expr = replace(corpus, protocol="expr")
    tuned = replace(frames.emotic_frames_full(), corpus=expr)
    head = replace(heads.ctyunai_expr(), corpus=replace(corpus, protocol="expr_folds"), folds=(2, 3), seeds=2)
    stages = (
        Stage("videos", "catalog", corpus),
        Stage("all", "finetune", replace(tuned, per_class=None), after=("videos",)),
        Stage("drawn", "finetune", replace(tuned, per_class=4), after=("videos",)),
        Stage("features", "extract", VisionConfig(recipe="vision", corpus=corpus), weights_from="all"),
        Stage("head", "head", head, features_from=("features",)),
    )
    assert planned(home, stages)["features"].size == NOT_YET
    save(catalog, home.full("catalogs/aff_wild2-0123456789ab.parquet"))
    shown = [expression(frame) for video in LEARNED for frame in range(FRAMES[video]) if has_image(frame)]
    counts = Counter(one for one in shown if one != -1)
    rows = planned(home, stages)
    assert rows["all"].counts == {"epochs": 100, "runs": 1, "samples": counts.total()}
    assert rows["drawn"].counts["samples"] == sum(min(count, 4) for count in counts.values()) < counts.total()
    images = sum(map(has_image, (frame for frames_of in FRAMES.values() for frame in range(frames_of))))
    assert rows["features"].size == f"{images} videos or images" and rows["videos"].counts == {"videos": images}
    assert rows["head"].size == "4 runs x 10 epochs", "how many windows there are, labels tell"


def test_images_of_a_union_are_counted_by_the_weight_of_their_corpus(home: Storage, tmp_path: Path) -> None:
    corpus = write_faces(tmp_path, weights={"raf_db": 0.5, "celeba": 3.0})
    config = replace(faces.nano(), corpus=corpus, passes_per_epoch=2)
    stages = (Stage("faces", "catalog", corpus), Stage("pretrain", "pretrain", config, after=("faces",)))
    assert planned(home, stages)["faces"].size.startswith("not known yet, root ")
    catalog_faces(corpus, home)
    rows = planned(home, stages)
    learned = {name: len(uris) for name, uris in LEARNED_FACES.items()}
    assert rows["pretrain"].counts["samples"] == 2 * (0.5 * learned["raf_db"] + 3 * learned["celeba"])
    assert rows["faces"].counts == {"videos": sum(learned.values()) + len(HELD_OUT)}


def test_a_pre_training_across_views_counts_takes(home: Storage, tmp_path: Path) -> None:
    takes = MeadConfig(actors=1, takes_per_actor=2, min_seconds=0.2, max_seconds=0.2, size=64)
    save(render(tmp_path / "takes", takes).catalog, home.full("catalogs/mead-0123456789ab.parquet"))
    config = replace(mead.nano(), corpus=MeadCorpusConfig(name="mead", root=str(tmp_path / "takes")))
    levels = replace(config.choice, levels=(1, 2, 3))
    row = planned(home, chain(pretrain=replace(config, choice=levels, passes_per_epoch=2)))["pretrain"]
    assert row.counts["samples"] == 2 * 2


def test_a_catalog_that_was_built_anew_shows_in_the_plan(home: Storage, tmp_path: Path) -> None:
    own = replace(voxceleb.nano(), corpus=CorpusConfig(name="folder", root=str(tmp_path / "videos")))
    jobs = FakeJobs()
    jobs.fingerprints["videos"] = write_corpus(tmp_path, videos=2).fingerprint
    run(home, jobs, chain(pretrain=own))
    assert planned(home, chain(pretrain=own))["pretrain"].state == "done"
    write_corpus(tmp_path, videos=3)
    assert planned(home, chain(pretrain=own))["pretrain"].state == "changed, again"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it fails."""
    monkeypatch.setitem(sys.modules, "ray", None)


def test_a_plan_is_printed_without_ray_roots_or_a_trace(
    home: Storage, no_ray: None, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: Callable[[], ChainConfig] = mae_dfer
    plan_chain(Command(replace(config(), plan=True), home=home.uri))
    printed = capsys.readouterr()
    line = json.loads(printed.out.splitlines()[-1])
    states = {row["stage"]: row["state"] for row in line["plan"]}
    assert states["voxceleb2-catalog"] == "would run" and states["mae_dfer_base"] == "waits"
    assert "root ?" in printed.err and "waits for" in printed.err
    assert list(home.list()) == []


def test_the_plan_of_another_recipe_in_the_same_directory_is_refused(home: Storage) -> None:
    jobs = FakeJobs()
    run(home, jobs, chain())
    with pytest.raises(ValueError, match="holds a chain of the recipe small, not of mae_dfer"):
        plan_chain(Command(replace(mae_dfer(), plan=True), name="small", home=home.uri))
    assert jobs.again()[:2] == LOOKUPS and home.exists(f"chains/small/{LEDGER}")


def test_a_labelled_corpus_without_a_catalog_says_how_many_runs_only_where_folds_are_named(home: Storage) -> None:
    every_fold = replace(finetuning.nano(), corpus=LabelledCorpusConfig(name="dfew"))
    assert "runs" not in planned(home, chain(finetune=every_fold))["scratch"].counts
    two_folds = replace(every_fold, folds=(1, 2), seeds=3)
    assert planned(home, chain(finetune=two_folds))["scratch"].counts["runs"] == 6
