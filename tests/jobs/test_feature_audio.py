"""What is heard at the frames of recordings, whoever is in them, and why of some nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.parts.feature_audio import AudioWorker, prepare_audio, units_of
from jobs.parts.feature_config import AudioConfig
from models import audio_encoders
from models.audio_config import SpeechConfig, VggishConfig
from models.audio_encoders import Vggish, load_speech_encoder
from pipelines.audio import LogMelConfig, at_frames, frame_edges, log_mel, log_mel_at_frames, read_sound
from pipelines.feature_store import FeatureStore
from pipelines.frame_videos import frame_videos
from pipelines.storage import Storage
from tests.models.test_audio_encoders import tiny
from tests.pipelines.frame_corpus import write_frames
from tests.pipelines.sounds import tone, wav, write_movie

FRAMES = 30


@pytest.fixture
def corpus(tmp_path: Path):
    """A recording of two people, one without sound, one that is damaged, one that is not there."""
    root = tmp_path / "corpus"
    catalog = write_frames(root, {name: [0, 1] for name in ("a_left", "a_right", "mute", "bad", "gone")})
    (root / "videos").mkdir()
    write_movie(root / "videos/a.mp4", np.concatenate([np.zeros(8000, np.float32), tone(0.7)]), frames=FRAMES)
    write_movie(root / "videos/mute.mp4", None)
    (root / "videos/bad.mp4").write_bytes((root / "videos/a.mp4").read_bytes()[:2000])
    return catalog


def run(config: AudioConfig, catalog, place: Storage) -> FeatureStore:
    """What the workers of a cluster do, one after the other."""
    work = prepare_audio(config, catalog)
    store = FeatureStore.create(place, name="x", kind=work.kind, width=work.width, made_with=work.made_with)
    worker = AudioWorker(work.recordings, store, config)
    for unit in units_of(frame_videos(catalog), work.files):
        worker(unit)
    return store


def test_both_people_of_a_recording_hear_the_same_and_the_others_nothing(corpus, tmp_path: Path) -> None:
    store = run(AudioConfig("log_mel"), corpus, Storage(tmp_path / "store"))
    assert list(store.videos()) == ["a_left", "a_right", "bad", "gone", "mute"]
    left, right = store.read("a_left"), store.read("a_right")
    assert np.array_equal(left.feature_MD, right.feature_MD) and left.frame_M.tolist() == list(range(FRAMES))
    assert np.allclose(left.time_M, np.arange(FRAMES) / 25)
    samples_N = read_sound(Path(corpus.root, "videos/a.mp4"))
    assert np.array_equal(left.feature_MD, log_mel_at_frames(samples_N, np.arange(FRAMES) / 25, LogMelConfig())[1])
    assert [store.num_frames(name) for name in ("bad", "gone", "mute")] == [0, 0, 0]
    reasons = {}
    for name in ("bad", "gone", "mute"):
        (one,) = json.loads(store.place.read(f"rejected/{name}.json"))
        assert one["video"] == name and one["frame"] is None
        reasons[name] = one["reason"]
    assert reasons == {"bad": "short_read", "gone": "missing", "mute": "no_sound"}
    assert [item.name for item in store.place.list("rejected")] == [f"rejected/{name}.json" for name in sorted(reasons)]


def test_a_recording_is_one_unit_of_work_for_all_of_its_videos(corpus) -> None:
    units = units_of(frame_videos(corpus), prepare_audio(AudioConfig("log_mel"), corpus).files)
    assert {"file": "a.mp4", "videos": ["a_left", "a_right"]} in units
    assert {"file": "", "videos": ["gone"]} in units and len(units) == 4


def test_states_of_a_speech_model_are_averaged_over_each_frame(corpus, tmp_path: Path) -> None:
    tiny("hubert").save_pretrained(tmp_path / "hubert")
    config = AudioConfig("hubert", encoder=SpeechConfig("hubert", str(tmp_path / "hubert"), layer=1))
    store = run(config, corpus, Storage(tmp_path / "store"))
    assert store.width == 16
    samples_N = read_sound(Path(corpus.root, "videos/a.mp4"))
    middle_M, state_MD = load_speech_encoder(tmp_path / "hubert", "hubert", 1)(torch.from_numpy(samples_N))
    time_M = middle_M.numpy() / 16_000
    expected = [state_MD[(time_M >= i / 25) & (time_M < (i + 1) / 25)].mean(0).numpy() for i in range(FRAMES)]
    assert np.allclose(store.read("a_left").feature_MD, expected, atol=1e-5)


def test_vggish_hears_a_window_around_each_frame(corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Vggish().eval()
    monkeypatch.setattr(audio_encoders, "load_vggish", lambda path: model)  # its file would have 288 MB
    (tmp_path / "vggish.pth").write_bytes(b"weights")
    config = AudioConfig("vggish", encoder=VggishConfig(str(tmp_path / "vggish.pth"), hop_seconds=0.1))
    store = run(config, corpus, Storage(tmp_path / "store"))
    samples_N = read_sound(Path(corpus.root, "videos/a.mp4"))
    middle_E, feature_ED = model.embed(torch.from_numpy(log_mel(samples_N, 64)), 10)
    seconds_E = (middle_E.numpy() * 160 + 200) / 16_000
    _, expected = at_frames(seconds_E, feature_ED.numpy(), *frame_edges(np.arange(FRAMES) / 25))
    assert store.width == 128 and np.allclose(store.read("a_left").feature_MD, expected, atol=1e-6)


def test_a_store_is_of_the_weights_and_recordings_and_not_of_where_they_lie(corpus, tmp_path: Path) -> None:
    model = tiny("hubert")
    made_with = []
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
        config = AudioConfig("hubert", encoder=SpeechConfig("hubert", str(tmp_path / name)))
        made_with.append(prepare_audio(config, corpus).made_with)
    assert made_with[0] == made_with[1]
    (tmp_path / "two/preprocessor_config.json").write_text("{}")
    assert prepare_audio(config, corpus).made_with != made_with[0]
    log = prepare_audio(AudioConfig("log_mel"), corpus).made_with
    write_movie(Path(corpus.root, "videos/gone.mp4"), tone(0.5))
    assert prepare_audio(AudioConfig("log_mel"), corpus).made_with != log


def test_sound_files_need_the_rate_of_the_frames(corpus, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices/a.wav").write_bytes(wav(tone(1.0)))
    config = AudioConfig("log_mel", recordings=str(tmp_path / "voices"), fps=30.0)
    store = run(config, corpus, Storage(tmp_path / "store"))
    assert store.num_frames("a_left") == 30
    with pytest.raises(ValueError, match="a.wav has no pictures: give --fps"):
        run(replace(config, fps=None), corpus, Storage(tmp_path / "other"))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (SpeechConfig("hubert", "/nowhere"), "no folder of a model"),
        (VggishConfig("/nowhere.pth"), "no file"),
    ],
)
def test_weights_that_are_not_there_are_told_before_any_work(corpus, encoder, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_audio(AudioConfig("x", encoder=encoder), corpus)


def test_a_folder_without_recordings_of_the_videos_is_refused(corpus, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others/z.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no recording of any video"):
        prepare_audio(AudioConfig("x", recordings=str(tmp_path / "others")), corpus)
