"""Exporting weights, from a checkpoint to an encoder in timm."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from cluster.checkpoint import CheckpointError
from jobs.export_weights import main
from jobs.parts.export import export_trained
from jobs.parts.run_config import PretrainRunConfig
from jobs.parts.trained import load_trained
from models.cubes import normalize_pixels
from tests.jobs.tiny import moving_frames, tiny_config, tiny_faces, tiny_model, write_run

CLIP = torch.from_numpy(moving_frames(4, 64, 64))[None]


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_the_card_s_own_code_loads_the_encoder_with_timm(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(encoder)
    write_run(tmp_path / "run", config)
    result = export_trained(str(tmp_path / "run"), part="encoder", output=tmp_path / "out")
    code = re.search(r"```python\n(.*?)```", Path(result["card"]).read_text(), flags=re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path / "out")
    names = {"clip_BTHWC": CLIP}
    exec(code, names)
    expected = tiny_model(config).encoder(normalize_pixels(CLIP))
    torch.testing.assert_close(names["features"], expected)


@pytest.mark.parametrize("target", ["image_mae", "pixels"])
def test_an_encoder_of_images_is_exported_with_a_card_that_speaks_of_images(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_faces(target=target)
    write_run(tmp_path / "run", config)
    result = export_trained(str(tmp_path / "run"), part="encoder", output=tmp_path / "out")
    card = Path(result["card"]).read_text()
    assert "# face_vit_nano, pre-trained on face images" in card and "video" not in card and "1 frames" not in card
    assert "| Input | images of 64x64, RGB; patches of 16x16 |" in card
    assert "| Crop | the largest centred square, resized to 64x64; trained on random parts of 20% to 100%" in card
    assert "| Corpus | synthetic affectnet+raf_db+fer2013+fer_plus, fingerprint" in card
    told = {"image_mae": "pixels, normalised within each token over all colours", "pixels": "pixels as they are"}
    assert f"| Target | {target}: the {told[target]}; of the masked tokens |" in card
    code = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path / "out")
    names = {"clip_BTHWC": CLIP[:, :1]}
    exec(code, names)
    torch.testing.assert_close(names["features"], tiny_model(config).encoder(normalize_pixels(CLIP[:, :1])))


@pytest.mark.parametrize("config", [tiny_config(), tiny_faces()], ids=["video", "images"])
def test_the_whole_model_reads_back_with_its_config_and_weights(config: PretrainRunConfig, tmp_path: Path) -> None:
    write_run(tmp_path / "run", config)
    result = export_trained(str(tmp_path / "run"), part="all", output=tmp_path / "out")
    trained = load_trained(result["weights"])
    assert trained.config == config and trained.name == "tiny, step 12"
    expected = tiny_model(config).state_dict()
    state = trained.model().state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_the_description_says_where_the_weights_come_from(tmp_path: Path) -> None:
    name = write_run(tmp_path / "run", tiny_config())
    result = export_trained(str(tmp_path / "run"), part="encoder", output=tmp_path / "out")
    provenance = json.loads(Path(result["description"]).read_text())["provenance"]
    assert provenance["checkpoint"].endswith(name) and provenance["step"] == 12
    assert provenance["metadata"]["config"]["recipe"] == "tiny"
    assert "| Recipe | `tiny` |" in Path(result["card"]).read_text()


def test_a_named_checkpoint_is_taken_instead_of_the_newest(tmp_path: Path) -> None:
    older = write_run(tmp_path / "run", tiny_config(), step=3)
    write_run(tmp_path / "run", tiny_config(), step=9)
    assert load_trained(str(tmp_path / "run")).step == 9
    assert load_trained(str(tmp_path / "run" / "checkpoints" / older)).step == 3


def test_an_export_is_not_written_over_another(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    export_trained(str(tmp_path / "run"), part="encoder", output=tmp_path / "out")
    with pytest.raises(ValueError, match="holds exported weights already"):
        export_trained(str(tmp_path / "run"), part="all", output=tmp_path / "out")


def test_an_encoder_alone_cannot_be_exported_again(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    result = export_trained(str(tmp_path / "run"), part="encoder", output=tmp_path / "out")
    with pytest.raises(ValueError, match="--part all"):
        load_trained(result["weights"])


def test_a_wrong_address_is_answered_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    with pytest.raises(CheckpointError, match="there is no checkpoint below"):
        load_trained(str(tmp_path / "else" / "run"))
    name = write_run(tmp_path / "home" / "runs" / "one", tiny_config())
    with pytest.raises(CheckpointError, match=f"there are: runs/one/checkpoints/{name}"):
        load_trained(str(tmp_path / "else" / "run"))
    with pytest.raises(CheckpointError, match=f"there are: one/checkpoints/{name}"):
        load_trained(str(tmp_path / "home" / "runs" / "two"))


def test_the_job_prints_one_json_line_and_answers_errors_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", tiny_config())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export_weights.py", "--checkpoint", "run"])
    main()
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert printed.count("\n") == 1
    assert result["weights"] == "exported/tiny-step-12-encoder/model.safetensors"
    assert (tmp_path / result["weights"]).is_file()
    monkeypatch.setattr(sys, "argv", ["export_weights.py", "--checkpoint", "ran"])
    with pytest.raises(SystemExit, match="run/checkpoints/step-00000012-0a"):
        main()
    assert capsys.readouterr().out == ""
