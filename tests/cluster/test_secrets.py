"""Secrets of the environment, and of addresses, are nowhere that a run writes, prints or hands on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.failures import describe
from cluster.log_lines import RedactingFormatter
from cluster.monitor import LinkHandler
from cluster.runtime import REPOSITORY, _runtime_env, result_line
from cluster.worker_group import CPU_WORKER_VARIABLES
from pipelines import catalog
from pipelines.retry import ObjectMissing
from pipelines.storage import Storage
from tests.cluster.loops import ListedLink, toy_run
from tests.cluster.toy import ToyData

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "WANDB_API_KEY",
    "HF_TOKEN",
    "RAY_AUTH_TOKEN",
)
CANARY = "canary0singing0"
SIGNED = f"https://bucket.s3.amazonaws.com/key?X-Amz-Credential=a&X-Amz-Signature={CANARY}"

JOB = """
import json, sys
sys.path.insert(0, {repository!r})
import ray, ray.train
from pathlib import Path
from cluster.protocols import Reference
from cluster.runtime import print_result, ray_session
from cluster.trainer import fit
from tests.cluster.loops import toy_run
from tests.cluster.toy import ToyData

given = {{}}

def spy(owner, name, key):
    original = getattr(owner, name)
    def called(*args, **values):
        given[key] = values[key]
        return original(*args, **values)
    setattr(owner, name, called)

spy(ray, "init", "runtime_env")
spy(ray.train.RunConfig, "__init__", "worker_runtime_env")
folder = Path({folder!r})
task = Reference("tests.cluster.toy:make_telling_task", "AWS_SESSION_TOKEN")
run = toy_run(folder, data=ToyData(num_samples=8, rejected=(1,)), task=task, stop_at_step=1)
with ray_session(num_cpus=2, object_store_bytes=200_000_000):
    result = fit(run)
    context = ray.get_runtime_context().runtime_env
(folder.parent / "given.json").write_text(json.dumps(given | {{"context": dict(context)}}))
print_result({{"steps": result.steps, "from": {signed!r}}})
"""


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {name: f"{CANARY}{index}" for index, name in enumerate(NAMES)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """Short, for the names of Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="r-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def files_with_canary(folder: str | Path) -> list[str]:
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.timeout(300)
def test_a_training_leaves_no_secret_in_files_logs_output_or_runtime_environments(
    tmp_path: Path, ray_folder: str, secrets: dict[str, str]
) -> None:
    job, run_directory = tmp_path / "job.py", tmp_path / "run"
    job.write_text(JOB.format(repository=str(REPOSITORY), folder=str(run_directory), signed=SIGNED))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, str(job)],
        env={**kept, **secrets, "RAY_TMPDIR": ray_folder, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert json.loads(done.stdout) == {"steps": 1, "from": "https://bucket.s3.amazonaws.com/key?[redacted]"}
    assert "WARNING pipelines.toy: cannot fetch https://bucket.s3.amazonaws.com/key?[redacted]" in done.stderr
    assert "ConnectionError: GET https://bucket.s3.amazonaws.com/key?[redacted]" in done.stderr
    given = json.loads((tmp_path / "given.json").read_text())
    assert given["runtime_env"]["env_vars"].keys() == {"PYTHONPATH"}
    assert given["worker_runtime_env"] == {"env_vars": CPU_WORKER_VARIABLES}
    assert CANARY not in json.dumps(given)
    written = {path.name for path in run_directory.rglob("*") if path.is_file()}
    assert {"run.json", "metrics.jsonl", "quarantine.jsonl", "COMMIT.json", "consumed.bits"} <= written
    assert files_with_canary(run_directory) == []
    assert len(list(Path(ray_folder).rglob("*.log"))) > 3
    assert files_with_canary(ray_folder) == []


def test_what_is_handed_to_workers_holds_no_variable_of_the_user(secrets: dict[str, str]) -> None:
    assert CANARY not in json.dumps(_runtime_env(os.environ, {"A": "1"}))


@pytest.mark.parametrize(
    "address", [SIGNED, f"s3://bucket/runs?X-Amz-Signature={CANARY}", f"s3://user:{CANARY}@bucket/runs"]
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(address: str, tmp_path: Path) -> None:
    run = toy_run(tmp_path, data=ToyData())
    assert CANARY not in str(run)
    for use in (Storage, lambda uri: catalog.load(f"{uri}/c.parquet")):
        with pytest.raises(ValueError, match="address") as refusal:
            use(address)
        assert CANARY not in str(refusal.value)


def test_an_object_asked_for_by_a_signed_name_is_not_repeated_in_the_error(s3_bucket: str) -> None:
    with pytest.raises(ObjectMissing, match=r"\[redacted\]") as missing:
        catalog.load(f"{s3_bucket}/c.parquet?X-Amz-Signature={CANARY}")
    assert CANARY not in str(missing.value)


def record(message: str) -> logging.LogRecord:
    try:
        try:
            raise ConnectionError(f"GET {SIGNED}")
        except ConnectionError as error:
            raise ValueError(f"no bytes of {SIGNED}") from error
    except ValueError:
        return logging.LogRecord("pipelines.x", logging.WARNING, "x.py", 1, message, (SIGNED,), sys.exc_info())


def test_a_log_line_and_its_traceback_are_shown_without_secrets() -> None:
    line = RedactingFormatter("%(levelname)s %(message)s").format(record("cannot read %s"))
    assert CANARY not in line and line.startswith("WARNING cannot read https://bucket.s3.amazonaws.com/key?[redacted]")
    assert "ConnectionError: GET https://" in line and "ValueError: no bytes of https://" in line


def test_a_warning_of_a_worker_reaches_the_driver_with_the_end_of_its_traceback() -> None:
    link = ListedLink(stop_after=None)
    LinkHandler(link, logging.WARNING).emit(record("cannot read %s"))
    [line] = link.published
    assert line.startswith("rank 0 WARNING pipelines.x: cannot read https://bucket.s3.amazonaws.com/key?[redacted]")
    assert line.splitlines()[-1] == "ValueError: no bytes of https://bucket.s3.amazonaws.com/key?[redacted]"
    assert "test_secrets.py" in line and CANARY not in line and len(line.splitlines()) <= 17


def test_failures_and_results_are_told_without_secrets(secrets: dict[str, str]) -> None:
    texts = [describe(OSError(f"{SIGNED} with {value}")) for value in secrets.values()]
    texts.append(result_line({"a": [{"b": SIGNED}], "c": secrets["HF_TOKEN"], "d": float("nan")}))
    assert CANARY not in "".join(texts)
    assert json.loads(texts[-1])["d"] is None and "[redacted]" in texts[-1]
