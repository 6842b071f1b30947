from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.catalog import SCHEMA, UNLABELLED, make_catalog
from pipelines.corpora import mead as corpus_mead
from pipelines.corpora.mead import EMOTIONS, VIEWS, read_name
from pipelines.probe import probe
from pipelines.storage import Storage
from pipelines.synthetic.camera import VIEW_ANGLES
from pipelines.synthetic.clip_rendering import figure_of, posed_frames
from pipelines.synthetic.clip_rendering import identity_of as speaker_of
from pipelines.synthetic.clip_specs import list_clips
from pipelines.synthetic.config import SYNTHETIC_VERSION, MeadConfig, SyntheticConfig
from pipelines.synthetic.corpus import MANIFEST_FILE, render_corpus
from pipelines.synthetic.mead import identity_of, list_takes, performance_of, scene_of, studio, view_renderer
from pipelines.takes import take_table
from pipelines.video import read_frames

TINY = MeadConfig(actors=2, takes_per_actor=1, min_seconds=0.2, max_seconds=0.4, size=96)

GOLDEN = (
    (9.770, 114.858, 60.129),
    (-1.370, 129.188, 54.173),
    (-13.601, 118.090, 53.457),
    (16.571, 126.569, 41.552),
    (16.944, 95.281, 55.541),
    (10.450, 151.485, 32.942),
    (12.201, 103.235, 58.364),
)
"""Per view: a weighted sum of landmarks, mean and deviation of a frame."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(str(tmp_path_factory.mktemp("corpus")))
    render_corpus(storage, TINY, show_progress=False)
    return storage


def annotation(storage: Storage, path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(storage.read(f"annotations/{path[:-4]}.csv").decode())))


def columns(rows: list[dict[str, str]], prefix: str) -> list[list[str]]:
    return [[value for name, value in row.items() if name.startswith(prefix)] for row in rows]


def test_the_layout_is_meads_with_an_annotation_for_every_view(corpus: Storage) -> None:
    names = {entry.name for entry in corpus.list()}
    videos = {name for name in names if name.endswith(".mp4")}
    found = [read_name(name) for name in videos]
    assert Counter(name.view for name in found) == dict.fromkeys(VIEWS, 2)
    assert {name.subject for name in found} == {"M001", "W002"}
    assert names - videos == {f"annotations/{n[:-4]}.csv" for n in videos} | {"corpus.json", "manifest.json"}


def test_videos_decode_to_the_frames_and_the_size_the_manifest_says(corpus: Storage) -> None:
    manifest = json.loads(corpus.read(MANIFEST_FILE))
    assert manifest["fingerprint"] == TINY.fingerprint and len(manifest["clips"]) == 14
    for row in manifest["clips"]:
        name, info = read_name(row["path"]), probe(corpus.read(row["path"]))
        assert (info.frames, info.width, info.height, info.fps) == (row["frames"], 96, 96, 25)
        assert name == (row["subject"], row["view"], row["emotion"], row["level"], row["number"])
        assert len(annotation(corpus, row["path"])) == row["frames"]


def test_all_views_of_a_take_carry_the_same_action_units_and_their_own_landmarks(corpus: Storage) -> None:
    for spec in list_takes(TINY):
        tables = [annotation(corpus, path) for path in spec.paths]
        units = [columns(table, "AU") for table in tables]
        assert all(track == units[0] for track in units)
        assert len({str(columns(table, "x_")) for table in tables}) == 7
        assert all(row["success"] == "1" for table in tables for row in table)


def test_every_camera_draws_the_same_vertices_and_its_truth_is_their_projection(corpus: Storage) -> None:
    spec = list_takes(TINY)[1]
    posed_T = list(posed_frames(figure_of(identity_of(spec)), scene_of(spec), performance_of(spec)))
    before = [posed.vertices_3N.copy() for posed in posed_T]
    for view, path in zip(VIEWS, spec.paths, strict=True):
        renderer, table = view_renderer(spec, view), annotation(corpus, path)
        for t in (0, spec.frames - 1):
            picture, _ = renderer.draw(posed_T[t])
            alone, _ = renderer.render(performance_of(spec).pose(t))
            np.testing.assert_array_equal(picture, alone)
            seen = renderer.camera.view(before[t][:, renderer.figure.landmark_68])
            truth = np.array([(float(table[t][f"x_{i}"]), float(table[t][f"y_{i}"])) for i in range(68)])
            np.testing.assert_allclose(truth, renderer.camera.project(seen), atol=0.051)
            np.testing.assert_array_equal(posed_T[t].vertices_3N, before[t])


def test_the_videos_show_what_each_camera_saw_at_the_same_instants(corpus: Storage) -> None:
    spec = list_takes(TINY)[0]
    for view, path in zip(VIEWS, spec.paths, strict=True):
        frames = read_frames(corpus.read(path), range(spec.frames)).astype(int)
        for t in (0, spec.frames - 1):
            picture, points = view_renderer(spec, view).render(performance_of(spec).pose(t))
            assert np.abs(picture - frames[t]).mean() < 6
            assert points.min() > 0 and points.max() < 96


def test_left_cameras_see_the_nose_to_the_right_of_the_eyes_and_the_higher_ones_see_it_lower() -> None:
    assert tuple(VIEW_ANGLES) == VIEWS
    spec = replace(list_takes(TINY)[0], size=224)
    still = replace(performance_of(spec).pose(0), yaw=0.0, pitch=0.0, roll=0.0)
    tip = {}
    for view in VIEWS:
        points = view_renderer(spec, view).landmarks(still)
        tip[view] = points[30] - points[[36, 45]].mean(0)
    right, down = (dict(zip(tip, np.stack(list(tip.values()))[:, axis], strict=True)) for axis in (0, 1))
    assert right["left_60"] > right["left_30"] > right["front"] + 5
    assert right["right_60"] < right["right_30"] < right["front"] - 5
    assert down["top"] > down["front"] + 5 > down["down"] + 10


def test_a_studio_is_the_same_for_all_actors_and_another_behind_each_view() -> None:
    first, second = list_takes(TINY)
    seeds = [studio(first, view).background_seed for view in VIEWS]
    assert len(set(seeds)) == 7
    assert [studio(second, view).background_seed for view in VIEWS] == seeds
    assert scene_of(first).key != scene_of(second).key


def test_no_actor_is_a_speaker_of_the_other_corpus() -> None:
    actors = {identity_of(spec) for spec in list_takes(MeadConfig(takes_per_actor=1))}
    assert len(actors) == 6
    assert not actors & {speaker_of(spec) for spec in list_clips(SyntheticConfig(clips_per_speaker=1))}


def test_eight_takes_show_every_emotion_and_24_every_level() -> None:
    takes = list_takes(MeadConfig(actors=5, takes_per_actor=48))
    by_actor = defaultdict(list)
    for spec in takes:
        by_actor[spec.actor].append(spec)
    for specs in by_actor.values():
        assert {spec.emotion for spec in specs[:8]} == set(EMOTIONS)
        levels = Counter((spec.emotion, spec.level) for spec in specs[:24])
        assert levels.pop(("neutral", 1)) == 3
        assert len(levels) == 21 and set(levels.values()) == {1}
        assert max(spec.number for spec in specs if spec.emotion == "neutral") == 6
    paths = [path for spec in takes for path in spec.paths]
    assert len(set(paths)) == len(paths) == 5 * 48 * 7
    assert all(corpus_mead.parse(path) for path in paths)


def test_the_head_of_an_actor_stays_near_the_frontal_camera() -> None:
    takes = list_takes(MeadConfig(actors=20, takes_per_actor=2))
    yaw = np.concatenate([performance_of(spec).angles_T3[:, 0] for spec in takes])
    assert np.abs(yaw).max() <= 15 and yaw.std() > 2


def test_a_lost_view_alone_is_rendered_again_to_the_same_bytes(tmp_path: Path) -> None:
    storage, config = Storage(str(tmp_path)), replace(TINY, actors=1)
    render_corpus(storage, config, show_progress=False)
    kept = {entry.name: entry.etag for entry in storage.list() if entry.name != MANIFEST_FILE}
    lost = list_takes(config)[0].paths[4]
    content = storage.read(lost)
    storage.remove(lost)
    storage.remove(MANIFEST_FILE)
    render_corpus(storage, config, show_progress=False)
    after = {entry.name: entry.etag for entry in storage.list()}
    assert storage.read(lost) == content
    untouched = set(kept) - {lost, f"annotations/{lost[:-4]}.csv"}
    assert {name: after[name] for name in untouched} == {name: kept[name] for name in untouched}


def test_a_place_that_holds_one_layout_refuses_the_other(corpus: Storage) -> None:
    with pytest.raises(ValueError, match=TINY.fingerprint):
        render_corpus(corpus, SyntheticConfig(), show_progress=False)


def test_the_corpus_is_grouped_into_complete_takes(corpus: Storage) -> None:
    rows = []
    for entry in corpus.list():
        labels = corpus_mead.parse(entry.name)
        if labels is None:
            continue
        info = probe(corpus.read(entry.name))
        known = {name: getattr(info, name) for name in ("width", "height", "fps", "frames", "seconds")}
        row = {"sample_id": len(rows), "uri": entry.name, "size": entry.size, "etag": entry.etag, "digest": ""}
        rows.append({**row, **labels._asdict(), **known, "status": "ok", "detail": "", **UNLABELLED})
    table = corpus_mead.settle(pa.Table.from_pylist(rows, schema=SCHEMA))
    takes = take_table(make_catalog(table, corpus="mead", root=corpus.uri))
    assert takes.table["uris"].to_pylist() == [list(spec.paths) for spec in list_takes(TINY)]
    assert takes.table["frames"].to_pylist() == [[spec.frames] * 7 for spec in list_takes(TINY)]
    assert sorted(takes.table["split"].to_pylist()) == ["dev", "test"]
    assert takes.report.omitted == ()


@pytest.mark.parametrize("change", [{"actors": 0}, {"takes_per_actor": 1000}, {"size": 482}, {"max_seconds": 11.0}])
def test_an_impossible_config_names_the_value(change: dict) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        MeadConfig(**change)


def test_every_field_of_the_config_changes_the_fingerprint() -> None:
    base = MeadConfig()
    changes = {"actors": 7, "takes_per_actor": 5, "min_seconds": 1.4, "max_seconds": 1.6, "size": 256, "seed": 1}
    changed = {replace(base, **{name: value}).fingerprint for name, value in changes.items()}
    assert len(changed | {base.fingerprint}) == 1 + len(changes)


def test_version_1_is_frozen() -> None:
    """A change that fails here needs a new SYNTHETIC_VERSION and new numbers. The tolerance is for other processors."""
    assert SYNTHETIC_VERSION == 1
    spec = list_takes(TINY)[1]
    rows = []
    for view in VIEWS:
        picture, points = view_renderer(spec, view).render(performance_of(spec).pose(spec.frames // 2))
        weights = np.cos(np.arange(points.size)).reshape(points.shape)
        rows.append([(points * weights).sum(), picture.mean(), picture.std()])
    np.testing.assert_allclose(rows, GOLDEN, atol=0.05)
