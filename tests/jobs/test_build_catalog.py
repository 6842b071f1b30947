from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from jobs import build_catalog
from pipelines.catalog import load
from pipelines.storage import Storage
from tests.pipelines import media
from tests.pipelines.image_corpus import encoded, picture, zipped

GOOD = media.video(12)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "videos")
    for name, data in {"anna/1.mp4": GOOD, "anna/2.mp4": media.ERROR_PAGE, "bert/1.mp4": GOOD, "x.txt": b"1"}.items():
        storage.write(name, data)
    return storage


@pytest.fixture
def run(corpus: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs the job in this process; returns its last line."""
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))

    def run(*options: str, root: str = corpus.uri) -> dict:
        monkeypatch.setattr(sys, "argv", ["build_catalog.py", "--corpus", "folder", "--root", root, *options])
        build_catalog.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.mark.usefixtures("cluster")
def test_the_catalog_is_stored_under_its_fingerprint_and_the_next_run_starts_from_it(
    run: Callable, corpus: Storage, tmp_path: Path
) -> None:
    first = run()
    assert (first["videos"], first["unusable"], first["ignored"]) == (2, {"not_media": 1}, 1)
    assert (first["probed"], first["reused"]) == (3, 0)
    assert first["catalog"] == f"{tmp_path}/home/catalogs/folder-{first['fingerprint'][:12]}.parquet"
    assert load(first["catalog"]).fingerprint == first["fingerprint"]
    corpus.write("carl/1.mp4", GOOD)
    second = run()
    assert (second["probed"], second["reused"]) == (1, 3)
    assert load(first["catalog"]).fingerprint == first["fingerprint"] != second["fingerprint"]


@pytest.mark.usefixtures("cluster")
def test_a_named_output_is_written_and_reused_and_withdrawn_people_are_left_out(run: Callable, tmp_path: Path) -> None:
    output = str(tmp_path / "c.parquet")
    run("--output", output)
    (tmp_path / "withdrawn.txt").write_text("anna\nzoe\n")
    second = run("--output", output, "--exclude", str(tmp_path / "withdrawn.txt"))
    assert (second["catalog"], second["reused"], second["excluded"]) == (output, 1, 2)
    assert second["unmatched_exclusions"] == ["zoe"]
    assert load(output).table["uri"].to_pylist() == ["bert/1.mp4"]


@pytest.mark.usefixtures("cluster")
def test_images_are_cleaned_and_counted_by_reason_and_another_cleaning_looks_again(
    run: Callable, tmp_path: Path
) -> None:
    images = {
        f"aligned/train_{side:05d}_aligned.jpg": encoded(picture(1, height=side), ".jpg") for side in (20, 30, 40)
    }
    Storage(tmp_path / "raf").write("aligned.zip", zipped(images))
    options = ("--corpus", "raf_db", "--clean.min-side")
    first = run(*options, "30", root=str(tmp_path / "raf"))
    assert (first["videos"], first["images"], first["unusable"]) == (0, 2, {"too_small": 1})
    second = run(*options, "40", root=str(tmp_path / "raf"))
    assert (second["images"], second["probed"], second["reused"]) == (1, 3, 0)
    third = run(*options, "30", root=str(tmp_path / "raf"))
    assert (third["fingerprint"], third["probed"], third["reused"]) == (first["fingerprint"], 0, 3)
    with pytest.raises(SystemExit, match="error: cleaning has no effect on folder"):
        run("--clean.min-side", "30")


@pytest.mark.usefixtures("cluster")
def test_a_damaged_last_catalog_does_not_stop_the_next(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_bytes(b"not a table")
    assert run("--output", str(tmp_path / "c.parquet"))["probed"] == 3


@pytest.mark.usefixtures("cluster")
def test_a_user_error_ends_with_a_message_and_no_traceback(run: Callable, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: no video in .*/empty: names like"):
        run(root=str(tmp_path / "empty"))
    with pytest.raises(SystemExit, match="error: .*absent.parquet: there is no such object"):
        run("--previous", str(tmp_path / "absent.parquet"))


def test_the_job_runs_by_its_name_and_ends_with_one_json_line(corpus: Storage, tmp_path: Path) -> None:
    job = Path(build_catalog.__file__)
    command = [sys.executable, str(job), "--corpus", "folder", "--root", corpus.uri, "--num-cpus", "2"]
    environment = os.environ | {"SEMBLANCE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["videos"] == 2
