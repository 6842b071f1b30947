"""Sound is read as it is heard, at the times of the frames; mel bands and means agree with independent ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.audio import (
    REACH_SECONDS,
    SAMPLE_RATE,
    TOLERANCE_SECONDS,
    LogMelConfig,
    at_frames,
    centre_of_window,
    frame_edges,
    log_mel,
    log_mel_at_frames,
    mel_matrix,
    read_frame_times,
    read_sound,
)
from pipelines.quarantine import Reason, SampleError
from tests.pipelines.sounds import tone, wav, write_movie


def pitch(samples_N: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples_N * np.hanning(len(samples_N))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples_N))


def onset(samples_N: np.ndarray) -> float:
    return float(np.flatnonzero(np.abs(samples_N) > 0.1)[0] / SAMPLE_RATE)


def test_a_sound_file_is_read_as_it_is() -> None:
    samples_N = read_sound(wav(tone(1.0)))
    assert samples_N.dtype == np.float32
    assert np.allclose(samples_N, tone(1.0), atol=1e-4)
    assert read_frame_times(wav(tone(1.0))) is None


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (8_000, 1)])
def test_sound_of_any_rate_becomes_mono_of_16_khz(rate: int, channels: int) -> None:
    samples_N = read_sound(wav(tone(1.0, 440.0, rate), rate, channels))
    assert abs(len(samples_N) - SAMPLE_RATE) < 40
    assert pitch(samples_N) == pytest.approx(440, abs=2)
    assert np.abs(samples_N[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_the_sound_of_a_video_keeps_its_place_beside_the_pictures(tmp_path: Path, name: str) -> None:
    samples_N = np.concatenate([np.zeros(8000, np.float32), tone(0.5)])
    path = write_movie(tmp_path / name, samples_N, frames=25)
    for source in (path, path.read_bytes()):
        found_N = read_sound(source)
        assert len(found_N) == pytest.approx(16_000, abs=2100)  # AAC fills up its last packet
        assert onset(found_N) == pytest.approx(0.5, abs=0.02)
        assert pitch(found_N[9000:15_000]) == pytest.approx(440, abs=5)
        assert np.allclose(read_frame_times(source), np.arange(25) / 25, atol=1e-6)


def test_sound_that_starts_after_the_pictures_is_preceded_by_silence(tmp_path: Path) -> None:
    found_N = read_sound(write_movie(tmp_path / "late.mp4", tone(0.5), frames=50, delay=0.7))
    assert onset(found_N) == pytest.approx(0.7, abs=0.08)


def test_a_video_without_sound_has_none_and_its_frames_have_times(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "silent.mp4", None, frames=7, fps=30)
    assert read_sound(path) is None
    assert np.allclose(read_frame_times(path), np.arange(7) / 30, atol=1e-4)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    movie = write_movie(tmp_path / "a.mp4", tone(1.0), frames=25).read_bytes()
    cases = {
        Reason.empty: b"",
        Reason.not_media: b"<html>not found</html>" * 10,
        Reason.short_read: movie[: len(movie) // 2],
        Reason.single_frame: b"\x89PNG\r\n\x1a\n" + bytes(60),
        Reason.container: movie[:4] + b"ftyp" + bytes(200),
    }
    for reason, data in cases.items():
        with pytest.raises(SampleError) as error:
            read_sound(data)
        assert error.value.reason in (reason, Reason.short_read), (reason, error.value)
    with pytest.raises(SampleError) as error:
        read_sound(tmp_path / "nowhere.wav")
    assert error.value.reason == Reason.missing


def test_sound_that_is_too_long_is_refused_before_all_of_it_is_kept() -> None:
    with pytest.raises(SampleError) as error:
        read_sound(wav(tone(3.0)), most_seconds=2.0)
    assert error.value.reason == Reason.too_large
    assert len(read_sound(wav(tone(2.0)), most_seconds=2.0)) == 2 * SAMPLE_RATE


@pytest.mark.parametrize("bands", [40, 64, 80])
def test_mel_bands_are_those_of_an_independent_implementation(bands: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(
        257, bands, 125.0, 7500.0, SAMPLE_RATE, norm=None, mel_scale="htk", triangularize_in_mel_space=True
    )
    assert np.allclose(mel_matrix(bands), expected, atol=2e-3)
    assert (mel_matrix(bands).max(0) > 0).all()


def test_a_log_mel_spectrogram_is_that_of_an_independent_implementation() -> None:
    from transformers.audio_utils import spectrogram, window_function

    samples_N = np.random.default_rng(0).normal(size=SAMPLE_RATE).astype(np.float32)
    expected_KM = spectrogram(
        samples_N.astype(np.float64),
        window_function(400, "hann", periodic=True),
        400,
        160,
        512,
        power=1.0,
        center=False,
        mel_filters=mel_matrix(64),
        mel_floor=0.0,
    )
    assert np.allclose(log_mel(samples_N, 64), np.log(expected_KM.T + 0.01), atol=1e-3)


def test_a_tone_is_loudest_in_its_band_and_sound_shorter_than_a_window_has_one() -> None:
    mel_MK = log_mel(tone(1.0, 1000.0), 64)
    assert mel_MK.shape == (98, 64) and mel_MK.dtype == np.float32
    assert (mel_MK.argmax(1) == mel_matrix(64)[32].argmax()).all()  # 1000 Hz is the 32nd of 257 frequencies
    assert log_mel(tone(0.01), 64).shape == log_mel(np.zeros(0, np.float32), 64).shape == (1, 64)
    assert np.allclose(log_mel(np.zeros(400, np.float32), 64), np.log(0.01))


def test_a_long_spectrogram_is_the_same_in_pieces() -> None:
    samples_N = np.random.default_rng(1).normal(size=160 * 4500).astype(np.float32)
    whole, tail = log_mel(samples_N, 64), log_mel(samples_N[160 * 4000 :], 64)
    assert np.allclose(whole[4000:], tail, atol=1e-5)


def test_frames_get_mean_and_deviation_of_what_lies_around_them() -> None:
    rng = np.random.default_rng(2)
    time_M, feature_MD = np.sort(rng.uniform(0, 4, 300)), 50 + rng.normal(size=(300, 3)).astype(np.float32)
    start_N = np.arange(100) / 25
    frame_L, found_LD = at_frames(time_M, feature_MD, start_N - 0.1, start_N + 0.15, deviation=True)
    assert frame_L.tolist() == list(range(100))
    for frame in frame_L:
        since = time_M - start_N[frame] + TOLERANCE_SECONDS
        rows = feature_MD[(since >= -0.1) & (since < 0.15)].astype(np.float64)
        assert len(rows) > 2
        assert np.allclose(found_LD[frame], [*rows.mean(0), *rows.std(0)], atol=1e-5)


def test_a_frame_without_a_feature_takes_the_nearest_and_far_ones_have_none() -> None:
    time_M, feature_MD = np.array([0.5, 2.0]), np.array([[1.0], [2.0]], np.float32)
    start_N = np.array([0.0, 0.48, 1.2, 1.3, 2.6, 3.1])
    frame_L, found_LD = at_frames(time_M, feature_MD, start_N, start_N + 0.04)
    assert frame_L.tolist() == [0, 1, 2, 3, 4] and found_LD[:, 0].tolist() == [1, 1, 1, 2, 2]
    assert 3.12 - 2.0 > REACH_SECONDS
    assert at_frames(time_M[:1], feature_MD[:1], start_N, start_N + 0.04)[0].tolist() == [0, 1, 2, 3]
    assert at_frames(time_M[:0], feature_MD[:0], start_N, start_N)[1].shape == (0, 1)


@pytest.mark.parametrize("digits", [3, 6, 17])
def test_features_at_the_times_of_frames_are_those_of_the_frames_however_times_were_rounded(digits: int) -> None:
    start_N, feature_MD = np.arange(3000) / 29.97, np.arange(3000, dtype=np.float32)[:, None]
    time_M = np.array([round(time, digits) for time in start_N.tolist()])
    frame_L, found_LD = at_frames(time_M, feature_MD, *frame_edges(start_N))
    assert np.array_equal(frame_L, np.arange(3000)) and np.array_equal(found_LD, feature_MD)


def test_means_over_many_frames_are_those_over_few() -> None:
    rng = np.random.default_rng(4)
    feature_MD = 1e3 + rng.normal(size=(5000, 2)).astype(np.float32)
    time_M, start_N = np.arange(5000) / 100, np.arange(1250) / 25
    _, whole_ND = at_frames(time_M, feature_MD, start_N, start_N + 0.2, deviation=True)
    _, part_ND = at_frames(time_M, feature_MD, start_N[1200:], start_N[1200:] + 0.2, deviation=True)
    assert np.allclose(whole_ND[1200:], part_ND, rtol=1e-6)


def test_a_frame_is_shown_until_the_next_one_and_the_last_as_long_as_the_others() -> None:
    start_N, stop_N = frame_edges(np.array([0.0, 0.04, 0.08, 0.2]))
    assert np.allclose(stop_N, [0.04, 0.08, 0.2, 0.24]) and np.allclose(start_N, [0.0, 0.04, 0.08, 0.2])
    assert [edge.tolist() for edge in frame_edges(np.array([0.5]))] == [[0.5], [0.5]]
    assert len(frame_edges(np.zeros(0))[1]) == 0


def test_log_mel_features_tell_where_in_a_video_a_sound_is() -> None:
    samples_N = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), tone(1.0, 1000.0)])
    config = LogMelConfig()
    frame_L, feature_LD = log_mel_at_frames(samples_N, np.arange(60) / 30, config)
    assert feature_LD.shape == (60, config.width) == (60, 128) and frame_L.tolist() == list(range(60))
    band = int(mel_matrix(64)[32].argmax())
    loud = feature_LD[:, band]
    assert (loud[:20] < -4).all() and (loud[40:] > 2).all()
    assert feature_LD[:20, 64 + band].max() < 0.1 < 1 < feature_LD[29, 64 + band]  # the deviation peaks at the onset
    assert log_mel_at_frames(samples_N, np.arange(60) / 30, LogMelConfig(deviation=False))[1].shape == (60, 64)
    assert centre_of_window(np.array([0, 100])).tolist() == [0.0125, 1.0125]


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"bands": 128}, {"window_seconds": 0.0}])
def test_a_config_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LogMelConfig(**wrong)
