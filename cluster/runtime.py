"""One Ray session per job: start or attach, keep stdout for the result, end on SIGTERM.

    with ray_session():
        result = fit(run)
    print_result(asdict(result))

Three ways to run the same file: plain python starts a private cluster of the size of the machine; inside
`ray job submit`, with or without a working directory, and wherever RAY_ADDRESS is set, the session attaches.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.log_lines import RedactingFormatter
from pipelines.storage import Storage, redact

logger = logging.getLogger(__name__)

ROOMS = ("cluster", "pipelines", "models", "jobs")
REPOSITORY = Path(__file__).resolve().parents[1]
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # the name says env var; it is also the name of the variable

STOPPED = 75
"""Exit status of a job that was asked to stop and has more to do: "try again later" (EX_TEMPFAIL of sysexits.h)."""

_stop_requests: list[threading.Event] = []
_was_asked_to_stop = threading.Event()


@contextlib.contextmanager
def ray_session(
    *, num_cpus: int | None = None, object_store_bytes: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Ray is up inside the block and shut down after it. `num_cpus`, `object_store_bytes` and `dashboard` size the
    private cluster of a plain python run (None: the machine) and are ignored when attaching. Without its dashboard a
    private cluster keeps what its processes print in its own log files: Ray Train's cleaner of placement groups warns
    every second that it cannot reach the dashboard's state service, and has nothing to clean in a private cluster.

    Whatever is printed inside the block, by workers too, goes to stderr. A session within a session, or within a
    process that has already called ray.init, uses what is there and leaves it up.

    Raises RuntimeError when RAY_ADDRESS names a Ray client or a dashboard instead of a cluster.
    """
    # Else a thread that still asks after the shutdown would start a cluster of its own. Read when ray is imported.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    import ray
    from ray.util import log_once

    # Ray Data reads this when it is imported here; Ray Train hands the driver's settings of Ray Data to the workers.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "WARNING")
    log_once("ray_data_progress_manager_disabled")  # or Ray Data explains how to bring its progress bars back
    if ray.is_initialized():
        yield
        return
    _was_asked_to_stop.clear()  # that was said to an earlier session of this process
    log_to_stderr()
    options: dict[str, Any] = {}
    variables: dict[str, str] = {}
    with contextlib.redirect_stdout(sys.stderr):
        if _attaching(os.environ):
            options = {"address": os.environ.get("RAY_ADDRESS", "auto")}
        else:
            _private_token()
            if dashboard:
                options = {"dashboard_port": _free_port()}
                # What asks for the state of actors would look for a Ray on this machine, and give up where there are
                # two: the resources of a trial that was stopped early would never come back.
                variables["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{options['dashboard_port']}"
            options |= {
                "address": "local",
                "num_cpus": num_cpus,
                "object_store_memory": object_store_bytes,
                "include_dashboard": dashboard,
                "log_to_driver": dashboard,
            }
        runtime_env = _runtime_env(os.environ, variables)
        ray.init(**options, runtime_env=runtime_env, logging_level=logging.WARNING)
        previous = _handle_sigterm()
        try:
            yield
        finally:
            ray.shutdown()
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Inside the block the first SIGTERM sets the event instead of ending the process; a second one ends it. Within
    another block that was asked to stop, the event is set from the beginning."""
    event = threading.Event()
    _stop_requests.append(event)  # first, so that a signal that comes in between finds it
    if any(outer.is_set() for outer in list(_stop_requests)):
        event.set()
    try:
        yield event
    finally:
        _stop_requests.remove(event)


def ask_to_stop(why: str) -> bool:
    """Sets the events of all blocks of `stop_requests` that there are; False where none waits for it."""
    waiting = [event for event in list(_stop_requests) if not event.is_set()]
    if not waiting:
        return False
    _was_asked_to_stop.set()
    for event in waiting:
        event.set()
    logger.warning("%s: stopping where it can be gone on with; a second SIGTERM ends the run at once", why)
    return True


def end_job(result: dict[str, Any], run_directory: Storage | None = None) -> None:
    """`print_result`, and the end of the process with status STOPPED where it was asked to stop and is not finished."""
    print_result(result, run_directory)
    if _was_asked_to_stop.is_set() and not result["is_finished"]:
        sys.exit(STOPPED)


def print_result(result: dict[str, Any], run_directory: Storage | None = None) -> None:
    """The last line on stdout: one JSON object. Call it after the session, for workers' prints may arrive until Ray is
    shut down. With a run directory it is also written there as result.json."""
    if run_directory is not None:
        record_result(result, run_directory)
    sys.stderr.flush()
    print(result_line(result), flush=True)


def record_result(result: dict[str, Any], run_directory: Storage) -> None:
    """Writes result.json, by which a run is known to be finished."""
    run_directory.write("result.json", result_line(result).encode() + b"\n")


def result_line(result: dict[str, Any]) -> str:
    """One JSON object, numbers that are not finite as null and texts without secrets."""
    return json.dumps(_presentable(result), allow_nan=False)


def log_to_stderr() -> None:
    """What our rooms say from INFO on, and of the libraries only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    for room in ROOMS:
        logging.getLogger(room).setLevel(logging.INFO)


def _presentable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _presentable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_presentable(item) for item in value]
    if isinstance(value, str):
        return redact(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _attaching(environment: os._Environ[str] | dict[str, str]) -> bool:
    address = environment.get("RAY_ADDRESS", "")
    if "://" in address:
        raise RuntimeError(
            f"RAY_ADDRESS={address} is not the address of a cluster. Submit with "
            f"`ray job submit --address {address} --working-dir . -- python jobs/NAME.py`, or unset it to run here"
        )
    return bool(address) or _JOB_CONFIG in environment


def _runtime_env(environment: os._Environ[str] | dict[str, str], variables: dict[str, str]) -> dict[str, Any]:
    """What the workers need to import the rooms, and variables besides. Ray finds the rooms itself with a working
    directory, and a path that the submitted job sets is left as it is."""
    job = json.loads(environment.get(_JOB_CONFIG) or "{}").get("runtime_env") or {}
    if not (job.get("working_dir") or "PYTHONPATH" in (job.get("env_vars") or {})):
        inherited = environment.get("PYTHONPATH")
        path = f"{REPOSITORY}{os.pathsep}{inherited}" if inherited else str(REPOSITORY)
        variables = {**variables, "PYTHONPATH": path}
    return {"env_vars": variables} if variables else {}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _private_token() -> None:
    """Ray protects a private cluster with a token that it writes to the home directory. Where there is none yet, the
    environment of this process is enough, and it works in a home that cannot be written."""
    given = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not given and not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _handle_sigterm() -> Any:
    """Installs our handler and returns the one before. After ray.init, which installs its own; signals can only be
    handled by the main thread, elsewhere the process that runs us decides."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    if not ask_to_stop("SIGTERM"):
        raise SystemExit(128 + signum)
