"""Where rows of metrics go: a JSON Lines file, TensorBoard, Weights & Biases, the driver's console.

All of them are used by rank 0 alone. After a resume no step appears twice: the JSON Lines file is cut back to the step
of the checkpoint, TensorBoard purges what follows it, Weights & Biases keeps the newest value of a step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from cluster.monitor import WorkerLink
from cluster.telemetry import Row
from pipelines.storage import ObjectMissing, Storage


def rows_until(data: bytes, step: int) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file up to a step. Rows past the step are dropped, and a last line torn by a crash.

    Raises ValueError for any other line that is not JSON.
    """
    whole = data[: data.rfind(b"\n") + 1]
    return [row for row in map(json.loads, whole.splitlines()) if row["step"] <= step]


def read_rows(storage: Storage, name: str, step: int) -> list[dict[str, Any]]:
    """Rows of a stored JSON Lines file up to a step; none if there is no such file."""
    try:
        return rows_until(storage.read(name), step)
    except ObjectMissing:
        return []


def to_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class JsonLines:
    """metrics.jsonl of the run directory: appended row by row where it is local, put there at every checkpoint where
    it is not. Values that are not finite are written as null."""

    def __init__(self, storage: Storage, *, resumed_step: int, name: str = "metrics.jsonl") -> None:
        self._storage, self._name = storage, name
        kept = to_lines(read_rows(storage, name, resumed_step))
        if storage.is_local:
            storage.write(name, kept)
            self._file = open(storage.full(name), "ab")
        else:
            self._file = tempfile.NamedTemporaryFile(suffix=".jsonl")  # closed by close
            self._file.write(kept)

    def write(self, row: Row) -> None:
        clean = {name: value if math.isfinite(value) else None for name, value in row.items()}
        self._file.write(json.dumps(clean).encode() + b"\n")
        self._file.flush()

    def flush(self) -> None:
        if self._storage.is_local:
            os.fsync(self._file.fileno())
        else:
            self._storage.upload(self._file.name, self._name)

    def close(self) -> None:
        self.flush()
        self._file.close()


class Driver:
    """The driver's console, by way of the monitor."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link

    def write(self, row: Row) -> None:
        self._link.publish(row)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open here."""


class TensorBoard:
    """Event files in tensorboard/ of the run directory, put there at every checkpoint where it is not local."""

    def __init__(self, storage: Storage, *, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._storage = storage.child("tensorboard")
        self._temporary = None if storage.is_local else tempfile.TemporaryDirectory()
        self._folder = self._storage.uri if self._temporary is None else self._temporary.name
        self._writer = SummaryWriter(self._folder, purge_step=resumed_step + 1 if resumed_step else None)

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def flush(self) -> None:
        self._writer.flush()
        if self._temporary is not None:
            for path in Path(self._folder).iterdir():
                self._storage.upload(path, path.name)

    def close(self) -> None:
        self.flush()
        self._writer.close()
        if self._temporary is not None:
            self._temporary.cleanup()


class WeightsAndBiases:
    """A Weights & Biases run that resumes by its id. Offline, for a later `wandb sync`, unless WANDB_API_KEY is set.

    Pictures that probes left in pictures/ of the run directory are sent only when asked for: they show faces.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        resumed_step: int,
        project: str,
        group: str | None,
        run_name: str,
        config: dict[str, Any],
        with_pictures: bool,
    ) -> None:
        import wandb

        self._wandb, self._storage = wandb, storage
        self._with_pictures = with_pictures
        self._pictures_sent = {info.name for info in storage.list("pictures")} if resumed_step else set()
        folder = storage.uri if storage.is_local else tempfile.mkdtemp(prefix="wandb-")
        self._run = wandb.init(
            project=project,
            group=group,
            name=run_name,
            id=hashlib.sha256(run_name.encode()).hexdigest()[:16],
            resume="allow",
            mode="online" if os.environ.get("WANDB_API_KEY") else "offline",
            dir=folder,
            config=config,
            settings=wandb.Settings(init_timeout=10, silent=True, disable_git=True, console="off"),
        )
        # Our step is the axis: the service's own counter refuses steps that a resumed run repeats.
        self._run.define_metric("*", step_metric="step")

    def write(self, row: Row) -> None:
        self._run.log(row)

    def flush(self) -> None:
        if not self._with_pictures:
            return
        for info in self._storage.list("pictures"):
            if info.name not in self._pictures_sent and info.name.endswith(".png"):
                with tempfile.NamedTemporaryFile(suffix=".png") as file:
                    self._storage.download(info.name, file.name)
                    self._run.log({info.name: self._wandb.Image(file.name)})
                self._pictures_sent.add(info.name)

    def close(self) -> None:
        self.flush()
        self._run.finish()
