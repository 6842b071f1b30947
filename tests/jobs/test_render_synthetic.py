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


def test_takes_of_seven_cameras_are_rendered_where_mead_is_asked_for(tmp_path: Path) -> None:
    tiny = ("--corpus.actors", "1", "--corpus.takes-per-actor", "1", "--corpus.size", "64")
    tiny += ("--corpus.min-seconds", "0.2", "--corpus.max-seconds", "0.2")
    done = run("mead", "--output", str(tmp_path), "--num-cpus", "1", *tiny)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["videos"], result["frames"]) == (7, 35)
    assert len({path.parts[-4] for path in tmp_path.glob("M001/video/*/*/level_*/001.mp4")}) == 7


def test_a_twin_of_a_labelled_corpus_is_rendered_with_its_lists(tmp_path: Path) -> None:
    tiny = ("--corpus.clips-per-class", "1", "--corpus.seconds", "0.2", "--corpus.size", "64")
    done = run("twin", "--corpus", "crema_d", "--output", str(tmp_path), "--num-cpus", "1", *tiny)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["videos"], result["frames"]) == (30, 150)
    assert len(list(tmp_path.glob("face_aligned/*/*.jpg"))) == 150
    assert (tmp_path / "VideoDemographics.csv").is_file()


def test_images_of_a_corpus_are_rendered_with_its_list(tmp_path: Path) -> None:
    tiny = ("--corpus", "raf_db", "--corpus.images", "16", "--corpus.size", "64")
    done = run("images", *tiny, "--output", str(tmp_path), "--num-cpus", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["images"], "videos" in result) == (16, False)
    assert len(list(tmp_path.glob("basic/Image/aligned/*.jpg"))) == 16
    assert len((tmp_path / "basic/EmoLabel/list_patition_label.txt").read_text().splitlines()) == 16


def test_aff_wild2_is_rendered_with_sound_faces_and_labels(tmp_path: Path) -> None:
    tiny = ("--corpus.videos", "12", "--corpus.seconds", "2", "--corpus.size", "64", "--corpus.audio", "neutral")
    done = run("aff_wild2", *tiny, "--output", str(tmp_path), "--num-cpus", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["videos"], result["frames"]) == (12, 600)
    assert json.loads((tmp_path / "corpus.json").read_text())["config"]["audio"] == "neutral"
    assert len(list(tmp_path.glob("videos/*.mp4"))) == 11  # one has two people
    assert len(list(tmp_path.glob("cropped_aligned/*/00001.jpg"))) > 6


def test_each_layout_has_its_own_options_and_an_unknown_one_is_named() -> None:
    voxceleb2, mead = run("--help").stdout, run("mead", "--help").stdout
    assert "--corpus.speakers-dev INT" in voxceleb2 and "--corpus.actors INT" not in voxceleb2
    assert "--corpus.actors INT" in mead and "--corpus.speakers-dev INT" not in mead
    assert "unknown layout 'affwild'; there are: voxceleb2, mead, twin, images, aff_wild2" in run("affwild").stderr


def test_options_without_effect_and_wrong_names_are_refused(tmp_path: Path) -> None:
    assert "no contact_sheet of a twin of videos" in run("twin", "--contact-sheet", str(tmp_path / "sheet.png")).stderr
    assert "only seed" in run("images", "--corpus", "celeba", "--contact-sheet", str(tmp_path / "s.png")).stderr
    assert "must end in .png" in run("--contact-sheet", str(tmp_path / "sheet.gif")).stderr
    assert "no effect" in run("--contact-sheet", str(tmp_path / "sheet.png"), "--output", str(tmp_path)).stderr
    assert "only seed" in run("mead", "--contact-sheet", str(tmp_path / "s.png"), "--corpus.actors", "2").stderr
    assert not list(tmp_path.iterdir())
