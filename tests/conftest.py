"""What all tests share: an S3 server of our own, and one way in which Ray authenticates.

Ray reads the mode once for each process; clusters of two modes in one process wait for each other for ever.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # what calls Ray when it is down fails, and starts no cluster for the rest


@pytest.fixture(autouse=True)
def nobody_asks_to_stop() -> Iterator[None]:
    """What one test asks of its process is not asked of the next."""
    yield
    from cluster import runtime

    runtime._was_asked_to_stop.clear()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of moto's S3 in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"moto's server did not start (exit code {server.poll()})") from None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test-key-id",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_variables(s3_endpoint: str) -> dict[str, str]:
    """What a process must have in its environment to reach the server, for Ray workers too."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_endpoint}


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Test credentials in the AWS variables and nothing of the user's own configuration."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def s3_bucket(s3_variables: dict[str, str], s3_environment: pytest.MonkeyPatch) -> str:
    """Address of a new, empty bucket, reachable through the AWS variables of the environment."""
    import boto3

    s3_environment.setenv("AWS_ENDPOINT_URL", s3_variables["AWS_ENDPOINT_URL"])
    name = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"
