from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import ray

from jobs import annotate_faces
from jobs.parts import annotation
from jobs.parts.annotation import address, report, show
from pipelines.annotate import Annotated
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotations import open_annotations
from pipelines.catalog import save
from pipelines.catalog_build import build
from pipelines.face_mesh import FaceMeshUnavailable
from pipelines.quarantine import Reason
from pipelines.storage import Storage
from pipelines.synthetic.config import SyntheticConfig
from pipelines.synthetic.corpus import render_corpus
from pipelines.track_file import VideoFaces
from tests.pipelines.face_samples import faces, track, write_annotations

TINY = SyntheticConfig(speakers_dev=1, speakers_test=1, clips_per_speaker=2, min_seconds=0.4, max_seconds=0.6, size=64)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(tmp_path_factory.mktemp("corpus"))
    render_corpus(storage, TINY, show_progress=False)
    return storage


@pytest.fixture
def catalog(corpus: Storage, cluster: None, tmp_path: Path) -> str:
    uri = str(tmp_path / "tiny.parquet")
    save(build("voxceleb2", corpus.uri).catalog, uri)
    return uri


@pytest.fixture
def run(catalog: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs the job in this process; returns its last line and what it showed."""

    def run(*options: str, catalog: str = catalog) -> tuple[dict, str]:
        monkeypatch.setattr(sys, "argv", ["annotate_faces.py", "--catalog", catalog, *options])
        annotate_faces.main()
        shown = capsys.readouterr()
        return json.loads(shown.out.splitlines()[-1]), shown.err

    return run


@pytest.mark.parametrize("kind", ["video", "image"])
def test_the_faces_of_a_synthetic_corpus_are_its_truth_and_of_images_found(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def annotate_catalog(uri: str, output: None, config: AnnotateConfig) -> dict:
        asked.append(config)
        raise FaceMeshUnavailable("no detector here")

    monkeypatch.setattr(annotation, "annotate_catalog", annotate_catalog)
    kinds = SimpleNamespace(table=pa.table({"kind": [kind, kind]}), storage=Storage(tmp_path))
    with pytest.raises(ValueError, match="no detector here"):
        annotation.find_annotations("a.parquet", kinds, given=None, has_truth=True)
    truth = AnnotateConfig(openface=str(tmp_path / "annotations"))
    assert asked == [AnnotateConfig(max_faces=1) if kind == "image" else truth]


def test_csvs_are_taken_over_and_a_second_run_has_nothing_to_do(run: Callable, corpus: Storage, catalog: str) -> None:
    result, shown = run("--openface", corpus.full("annotations"))
    clips = json.loads(corpus.read("manifest.json"))["clips"]
    frames = sum(clip["frames"] for clip in clips)
    assert result["annotations"] == address(catalog)
    assert (result["videos"], result["frames"], result["frames_with_face"]) == (4, frames, frames)
    assert (result["unreadable"], result["without_face"], result["faces"]) == (0, 0, 4)
    assert (result["sources"], result["views"], result["annotated_now"]) == ({"openface": 4}, {}, 4)
    assert result["frames_per_second_per_core"] > 0
    assert "100.0%" in shown and "Faces in" in shown
    annotations = open_annotations(result["annotations"])
    assert annotations.fingerprint == result["fingerprint"]
    assert [len(annotations.tracks(clip["path"])[0]) for clip in clips] == [clip["frames"] for clip in clips]

    again, _ = run("--openface", corpus.full("annotations"))
    news = {"annotated_now": 0, "frames_per_second": None, "frames_per_second_per_core": None}
    assert again == result | news


def test_user_errors_end_with_a_message(run: Callable, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: .*absent.parquet: there is no such object"):
        run(catalog=str(tmp_path / "absent.parquet"))
    with pytest.raises(SystemExit, match="error: .*nowhere holds no CSV of any video"):
        run("--openface", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="num_workers=0 must be at least 1"):
        annotate_faces.Config(num_workers=0)


def test_the_job_runs_by_its_name_and_without_mediapipe_it_names_the_command(catalog: str, tmp_path: Path) -> None:
    (tmp_path / "mediapipe-0.0.0.dist-info").mkdir()
    (tmp_path / "mediapipe-0.0.0.dist-info" / "METADATA").write_text("Name: mediapipe\nVersion: 0.0.0\n")
    command = [sys.executable, annotate_faces.__file__, "--catalog", catalog, "--num-cpus", "1"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: landmarks come from mediapipe" in done.stderr and "pip install --no-deps" in done.stderr
    assert "Traceback" not in done.stderr


def test_annotations_lie_beside_their_catalog_but_not_under_its_name() -> None:
    assert address("s3://bucket/catalogs/mead-01.parquet") == "s3://bucket/catalogs/annotations/mead-01"
    assert address("mead.parquet") == "annotations/mead"


def test_the_report_counts_by_view_and_names_the_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = [
        faces("a/front.mp4", track()),
        faces("a/top.mp4"),
        faces("b/front.mp4", track(seed=1), track(seed=2, face_id=1)),
        VideoFaces("b/top.mp4", Reason.decode.value, "frame 3 cannot be decoded", []),
    ]
    annotations = write_annotations(Storage(tmp_path), [found], views=["front", "top"] * 2)
    result = report(Annotated(annotations, videos=2, frames=24, seconds=2.0, cpu_seconds=0.5))
    assert (result["frames_per_second"], result["frames_per_second_per_core"]) == (12.0, 48.0)
    assert (result["videos"], result["unreadable"], result["without_face"], result["frames"]) == (4, 1, 1, 36)
    front, top = result["views"]["front"], result["views"]["top"]
    assert (front["videos"], front["frames"], front["frames_with_face"], front["faces"]) == (2, 24, 22, 3)
    assert front["sources"] == {"mediapipe": 2}
    assert (top["unreadable"], top["without_face"], top["frames"], top["sources"]) == (1, 1, 12, {})
    show(result, annotations.videos)
    shown = capsys.readouterr().err
    assert "91.7%" in shown  # 22 of 24 frames of the front view
    assert "b/top.mp4: decode, frame 3 cannot be decoded" in shown
