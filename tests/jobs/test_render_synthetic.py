from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).parents[2] / "jobs" / "render_synthetic.py"
TINY = (
    *("--corpus.speakers-dev", "1", "--corpus.speakers-test", "1", "--corpus.clips-per-speaker", "1"),
    *("--corpus.min-seconds", "0.3", "--corpus.max-seconds", "0.3"),
)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(JOB), *arguments], capture_output=True, text=True, timeout=120)


def test_the_job_renders_a_corpus_and_ends_with_one_json_line(tmp_path: Path) -> None:
    done = run("--output", str(tmp_path), "--num-cpus", "1", *TINY)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["videos"], result["frames"]) == (2, 16)
    assert len(list(tmp_path.glob("*/mp4/*/*/*.mp4"))) == 2


def test_options_without_effect_and_wrong_names_are_refused(tmp_path: Path) -> None:
    assert "must end in .png" in run("--contact-sheet", str(tmp_path / "sheet.gif")).stderr
    assert "no effect" in run("--contact-sheet", str(tmp_path / "sheet.png"), "--output", str(tmp_path)).stderr
    assert not list(tmp_path.iterdir())
