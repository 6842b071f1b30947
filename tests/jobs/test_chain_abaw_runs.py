"""The chains of the three ABAW systems on a laptop, from nothing to tables and submissions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.frame_labels import read_frame_labels
from pipelines.storage import Storage
from pipelines.submission import check_submission

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"netease_nano": {"au", "expr", "va"}, "ctyunai_nano": {"au", "expr", "va"}, "emotic_nano": {"expr"}}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", TASKS)
def test_a_chain_ends_in_its_tables_and_in_submissions_that_an_organiser_would_take(
    tmp_path: Path, recipe: str
) -> None:
    environment = {**os.environ, "SEMBLANCE_HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    ran = subprocess.run(
        [sys.executable, "jobs/chain.py", recipe], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["is_finished"] and set(result["stages"].values()) == {"done"}
    for address in result["tables"]:
        table = json.loads(Path(address).with_suffix(".json").read_text())
        measured = [cell for cell in table["cells"] if cell["stage"]]
        assert measured and all(cell["measured"] is not None for cell in measured)
    [root] = (folder for folder in (tmp_path / "corpora").iterdir() if (folder / "cropped_aligned").is_dir())
    written = {Path(address).stem for address in result["submissions"]}
    assert written == TASKS[recipe]
    for address in result["submissions"]:
        task = Path(address).stem
        labels = read_frame_labels(Storage(str(root)), task)
        lengths = {video: labels.num_frames(video) for video in labels.test_videos()}
        assert lengths
        check_submission(task, Path(address).read_bytes(), lengths)
