"""A job's session: one line on stdout, ways to attach, what SIGTERM does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster import runtime
from cluster.runtime import (
    REPOSITORY,
    STOPPED,
    _attaching,
    _handle_sigterm,
    _runtime_env,
    ask_to_stop,
    end_job,
    print_result,
    stop_requests,
)
from pipelines.storage import Storage

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"

JOB = """
import os, signal, sys
sys.path.insert(0, {repository!r})
from cluster.runtime import end_job, ray_session, stop_requests

with ray_session(num_cpus=1, object_store_bytes=100_000_000):
    import ray

    @ray.remote
    def shout():
        import cluster.protocols  # a room, importable without working directory or installation
        print("a worker prints")
        return os.path.dirname(os.path.dirname(cluster.protocols.__file__))

    print("the job prints")
    root = ray.get(shout.remote())
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.wait(10)
        is_set = stop.is_set()
    if "--end" in sys.argv:
        os.kill(os.getpid(), signal.SIGTERM)
        ray.get(shout.remote())
end_job({{"root": root, "is_finished": not is_set, "up": ray.is_initialized(), "nan": float("nan")}})
"""


def run_job(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    job = folder / "job.py"
    job.write_text(JOB.format(repository=str(REPOSITORY)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    # A home that cannot be written, as in many containers: Ray's own token would go there.
    return subprocess.run(
        [sys.executable, str(job), *arguments],
        cwd="/",
        env={**kept, "HOME": "/proc"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_the_result_is_all_there_is_on_stdout_and_a_job_that_was_asked_to_stop_says_so_by_its_status(
    tmp_path: Path,
) -> None:
    job = run_job(tmp_path)
    assert job.returncode == STOPPED, job.stderr
    [line] = job.stdout.splitlines()
    assert json.loads(line) == {"root": str(REPOSITORY), "is_finished": False, "up": False, "nan": None}
    assert "the job prints" in job.stderr


def test_a_sigterm_that_nobody_waits_for_ends_the_job_orderly(tmp_path: Path) -> None:
    job = run_job(tmp_path, "--end")
    assert job.returncode == 128 + signal.SIGTERM, job.stderr
    assert job.stdout == ""


def test_a_job_that_is_finished_or_ends_where_it_was_told_to_ends_with_status_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "_was_asked_to_stop", threading.Event())
    end_job({"is_finished": False})
    with stop_requests() as stop:
        assert ask_to_stop("the node is draining") and stop.is_set()
        assert not ask_to_stop("again")
    end_job({"is_finished": True})
    with pytest.raises(SystemExit) as ended:
        end_job({"is_finished": False})
    assert ended.value.code == STOPPED and len(capsys.readouterr().out.splitlines()) == 3


def test_a_second_sigterm_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_was_asked_to_stop", threading.Event())
    previous = _handle_sigterm()
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(5)
            with pytest.raises(SystemExit, match="143"):
                os.kill(os.getpid(), signal.SIGTERM)
                stop.wait(5)
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_a_job_attaches_when_it_was_submitted_or_told_an_address() -> None:
    assert not _attaching({})
    assert _attaching({"RAY_ADDRESS": "10.0.0.1:6379"})
    assert _attaching({JOB_CONFIG: "{}"})


def test_the_address_of_a_dashboard_is_refused_with_the_command_to_use() -> None:
    with pytest.raises(RuntimeError, match="ray job submit --address http://head:8265 --working-dir"):
        _attaching({"RAY_ADDRESS": "http://head:8265"})


def test_workers_find_the_rooms_without_a_working_directory_and_are_left_alone_with_one() -> None:
    plain = _runtime_env({"PYTHONPATH": "/opt/x"}, {})["env_vars"]
    assert plain["PYTHONPATH"] == f"{REPOSITORY}{os.pathsep}/opt/x"
    submitted = _runtime_env({JOB_CONFIG: json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}})}, {})
    assert submitted == {}
    own = {"runtime_env": {"env_vars": {"PYTHONPATH": "/opt/y", "A": "1"}}}
    assert _runtime_env({JOB_CONFIG: json.dumps(own)}, {}) == {}
    assert _runtime_env({JOB_CONFIG: json.dumps(own)}, {"B": "2"}) == {"env_vars": {"B": "2"}}


def test_the_result_is_also_kept_in_the_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"steps": 3, "metrics": {"loss": float("inf")}, "epochs": (1, 2)}, Storage(tmp_path))
    expected = {"steps": 3, "metrics": {"loss": None}, "epochs": [1, 2]}
    assert json.loads(capsys.readouterr().out) == expected
    assert json.loads((tmp_path / "result.json").read_text()) == expected
