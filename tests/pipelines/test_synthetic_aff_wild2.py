from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.corpora import aff_wild2 as corpus_module
from pipelines.corpora.aff_wild2_files import EXPRESSIONS, UNITS
from pipelines.frame_folder import FrameFolder
from pipelines.frame_labels import FrameLabels, read_frame_labels
from pipelines.openface import read_csv
from pipelines.probe import probe
from pipelines.storage import Storage
from pipelines.synthetic.aff_wild2 import (
    act_of,
    aff_wild2_files,
    folder_of,
    identity_of,
    images_of,
    list_recordings,
    num_frames,
    renderer_of,
    segments_of,
    sound_of,
    truth_of,
    voice_of,
)
from pipelines.synthetic.aff_wild2_layout import list_videos
from pipelines.synthetic.affect_acting import PRESENT, SHOWN, Segment, draw_act
from pipelines.synthetic.config import SYNTHETIC_VERSION, AffWild2Config
from pipelines.synthetic.corpus import MANIFEST_FILE, ensure_corpus, list_files, render_corpus
from pipelines.synthetic.expressions import au_index
from pipelines.synthetic.speech import MANNERS, SAMPLE_RATE, add_sound, draw_voice, speak
from pipelines.video import read_frames
from tests.pipelines.labelled_tree import labelled

DEFAULT = AffWild2Config()
TINY = AffWild2Config(videos=12, seconds=2.0, size=64)
GOLDEN = (
    (-5.551, 17.292, 126.787, 63.959, 4.175, 2.525),
    (-0.958, 17.688, 110.244, 69.104, 10.182, -18.699),
)
"""Per video: a weighted sum of landmarks, a hundredth of the sum of intensities, mean and deviation of a frame, hundred
times the loudness of the sound, a weighted sum of the truth."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(str(tmp_path_factory.mktemp("corpus")))
    render_corpus(storage, TINY, show_progress=False)
    return storage


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FrameLabels]:
    """The labels of the default twin, as the corpus reads them."""
    storage = Storage(str(tmp_path_factory.mktemp("labels")))
    for name, content in list_files(DEFAULT).items():
        storage.write(name, content)
    return corpus_module.frame_labels(storage)


def sound_in(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", SAMPLE_RATE, 1)
        frames = [(frame.pts, frame.to_ndarray()[0]) for frame in container.decode(stream)]
    assert frames[0][0] == 0
    return np.concatenate([samples for _, samples in frames])


def test_the_tree_is_the_corpus_with_its_truth_beside_it(corpus: Storage) -> None:
    manifest = json.loads(corpus.read(MANIFEST_FILE))
    assert manifest["fingerprint"] == TINY.fingerprint and len(manifest["clips"]) == 12
    names = {entry.name for entry in corpus.list()}
    videos = list_videos(TINY)
    images = {image for video in videos for image in images_of(TINY, video)}
    annotations = {f"annotations/{folder_of(video)}.csv" for video in videos}
    recordings = {f"videos/{video.recording}.mp4" for video in videos}
    assert len(recordings) == 11
    own = {"corpus.json", MANIFEST_FILE}
    assert names == images | annotations | recordings | own | set(list_files(TINY))
    assert images < {f"{folder_of(video)}/{frame + 1:05d}.jpg" for video in videos for frame in range(50)}


def test_the_corpus_module_labels_every_image_of_every_task(corpus: Storage) -> None:
    found = labelled(corpus_module, Path(corpus.uri))
    assert [known.name for known in found.protocols][-2:] == ["all", "mtl"]
    assert found.table.num_rows == sum(len(images_of(TINY, video)) for video in list_videos(TINY))


def test_labels_are_the_truth_but_where_nobody_annotated(told: dict[str, FrameLabels]) -> None:
    gaps = dict.fromkeys(("expr", "au", "va"), 0)
    for video in list_videos(DEFAULT):
        truth = truth_of(DEFAULT, video)
        meant = {
            "expr": np.eye(8)[truth.expression_T],
            "au": truth.marks_TK,
            "va": truth.affect_T2.round(3),
        }
        for name, meant_TK in meant.items():
            labels = told[name]
            if video.sets[name] in ("", "test"):
                assert video.name not in labels.videos()
                continue
            target_TK = labels.targets(video.name)
            is_told_T = ~np.isnan(target_TK).all(1)
            np.testing.assert_array_equal(is_told_T, ~truth.unsure[name])
            np.testing.assert_allclose(target_TK[is_told_T], meant_TK[is_told_T], atol=1e-6)
            gaps[name] += int((~is_told_T).sum())
            assert labels.part(video.name) == {"Train_Set": "train", "Validation_Set": "test"}[video.sets[name]]
    assert min(gaps.values()) > 10


def test_sets_differ_from_task_to_task_and_every_part_shows_every_expression(told: dict[str, FrameLabels]) -> None:
    parts = {
        name: {video: told[name].part(video) for video in told[name].videos()} for name in ("expr", "au", "va", "mtl")
    }
    assert len({json.dumps(of_task, sort_keys=True) for of_task in parts.values()}) == 4
    assert set(told["va"].test_videos()) != set(told["expr"].test_videos())
    hidden = told["expr"].test_videos()
    assert len(hidden) == 4 and all(told["expr"].num_frames(video) == 125 for video in hidden)
    for part in ("train", "test"):
        shown = [told["expr"].targets(video) for video, of in parts["expr"].items() if of == part]
        assert (np.nansum(np.concatenate(shown), axis=0) >= 20).all()
    assert any(video.endswith("_left") for video in told["expr"].videos())


def test_labels_are_balanced_enough_to_learn_from() -> None:
    truth = [truth_of(DEFAULT, video) for video in list_videos(DEFAULT)]
    shares_8 = np.bincount(np.concatenate([known.expression_T for known in truth]), minlength=8) / 3000
    assert shares_8.min() > 0.08 and shares_8.max() < 0.35
    present_12 = np.concatenate([known.marks_TK for known in truth]).mean(0)
    assert present_12.min() > 0.06 and present_12.max() < 0.7, dict(zip(UNITS, present_12, strict=True))
    affect = np.concatenate([known.affect_T2 for known in truth])
    assert np.abs(affect).max() <= 1 and (affect.std(0) > 0.2).all() and (np.ptp(affect, axis=0) > 1).all()


def test_valence_and_arousal_follow_the_expression_smoothly_and_late() -> None:
    act = draw_act(np.random.SeedSequence(0), [Segment("Happiness", 25, 75)], frames=125, fps=25)
    valence_T = act.affect_T2[:, 0]
    np.testing.assert_array_equal(valence_T[:25], 0)
    assert valence_T.max() > 0.5 and np.abs(np.diff(valence_T)).max() < 0.1
    shown = np.flatnonzero(act.expression_T == EXPRESSIONS.index("Happiness"))
    assert shown.min() < np.argmax(valence_T > valence_T.max() / 2)
    assert shown.max() < 90 < np.flatnonzero(valence_T > 0.02).max()


def test_an_expression_is_told_from_its_intensity_on_and_units_whatever_moves_them() -> None:
    segments = [Segment("Neutral", 0, 40), Segment("Surprise", 40, 100)]
    act = draw_act(np.random.SeedSequence(3), segments, frames=100, fps=25)
    still = draw_act(np.random.SeedSequence(3), [Segment("Neutral", 0, 100)], frames=100, fps=25)
    assert set(act.expression_T) == {0, EXPRESSIONS.index("Surprise")} and (act.expression_T[:40] == 0).all()
    brow_T = act.performance.intensity_T18[:, au_index(2)]
    assert (brow_T[act.expression_T > 0].max() > SHOWN) and (brow_T[:40] < PRESENT).all()
    np.testing.assert_array_equal(act.marks_TK[:, UNITS.index("AU2")], brow_T >= PRESENT)
    np.testing.assert_array_equal(act.opening_T, still.opening_T)
    assert still.marks_TK[:, UNITS.index("AU25")].any()
    np.testing.assert_array_equal(act.performance.angles_T3, still.performance.angles_T3)


def test_images_and_recording_show_the_performance_and_the_truth_lies_in_their_pixels(corpus: Storage) -> None:
    video = list_videos(TINY)[5]
    names = images_of(TINY, video)
    track = read_csv(corpus.read(f"annotations/{folder_of(video)}.csv"), num_frames(TINY))
    film = read_frames(corpus.read(f"videos/{video.recording}.mp4"), range(num_frames(TINY))).astype(int)
    renderer, performance = renderer_of(TINY, video), act_of(TINY, video).performance
    for name in (names[0], names[-1]):
        frame = int(name[-9:-4]) - 1
        picture, points = renderer.render(performance.pose(frame))
        image = FrameFolder(corpus, (name,)).read([0])[0].astype(int)
        assert np.abs(picture - image).mean() < 5 and np.abs(picture - film[frame]).mean() < 8
        np.testing.assert_allclose(track.landmarks_T682[frame], points, atol=0.051)


def test_faces_stand_upright_in_the_middle_as_in_aligned_crops() -> None:
    for video in list_videos(DEFAULT)[:4]:
        renderer, performance = renderer_of(DEFAULT, video), act_of(DEFAULT, video).performance
        eyes_T22 = np.stack(
            [renderer.landmarks(performance.pose(frame))[36:48].reshape(2, 6, 2).mean(1) for frame in range(0, 125, 12)]
        )
        tilt_T = (eyes_T22[:, 1, 1] - eyes_T22[:, 0, 1]) / (eyes_T22[:, 1, 0] - eyes_T22[:, 0, 0])
        assert np.abs(tilt_T).max() < np.tan(np.radians(6))
        assert np.abs(eyes_T22.mean(1) - (56, 46)).max() < 8


def test_two_people_are_side_by_side_in_one_recording(corpus: Storage) -> None:
    left, right = list_videos(TINY)[-2:]
    assert (left.name, right.name) == ("12-25-128x64_left", "12-25-128x64_right")
    data = corpus.read("videos/12-25-128x64.mp4")
    info = probe(data)
    assert (info.frames, info.width, info.height, info.fps) == (50, 128, 64, 25)
    film = read_frames(data, range(50)).astype(int)
    for video, half in ((left, film[:, :, :64]), (right, film[:, :, 64:])):
        name = images_of(TINY, video)[3]
        image = FrameFolder(corpus, (name,)).read([0])[0]
        assert np.abs(half[int(name[-9:-4]) - 1] - image).mean() < 8


def test_the_sound_of_a_file_is_what_was_said_in_time_with_the_frames(corpus: Storage) -> None:
    video = list_videos(TINY)[4]
    heard_S, said_S = sound_in(corpus.read(f"videos/{video.recording}.mp4")), sound_of(TINY, video)
    assert len(said_S) == 2 * SAMPLE_RATE and 0 <= len(heard_S) - len(said_S) < 1100
    likeness = {lag: np.corrcoef(said_S[2000:30_000], heard_S[2000 + lag : 30_000 + lag])[0, 1] for lag in (-80, 0, 80)}
    assert max(likeness, key=likeness.get) == 0 and likeness[0] > 0.98


def test_sound_leaves_the_pictures_as_they_were(corpus: Storage) -> None:
    data = corpus.read("videos/video3.mp4")
    again = add_sound(data, np.zeros(2 * SAMPLE_RATE, np.float32))
    np.testing.assert_array_equal(read_frames(data, range(50)), read_frames(again, range(50)))


def test_sound_is_loud_where_the_mouth_is_open_and_silent_where_it_is_shut() -> None:
    opening_T = np.repeat([0.0, 0.8, 0.0, 0.8], 25)
    sound_S = speak(
        np.random.default_rng(0), draw_voice(np.random.default_rng(1)), [MANNERS["Neutral"]] * 100, opening_T, fps=25
    )
    loud_4 = np.sqrt((sound_S.reshape(4, SAMPLE_RATE)[:, 3200:-3200] ** 2).mean(1))
    assert sound_S.dtype == np.float32 and np.abs(sound_S).max() <= 1
    assert loud_4[[1, 3]].min() > 20 * loud_4[[0, 2]].max()


def test_a_voice_has_the_pitch_that_it_is_asked_for() -> None:
    for manner, factor in (("Neutral", 1.0), ("Sadness", 0.8), ("Fear", 1.65)):
        still = MANNERS[manner]._replace(melody=0.0)
        voice = replace(draw_voice(np.random.default_rng(2)), pitch=120.0)
        sound_S = speak(np.random.default_rng(0), voice, [still] * 50, np.full(50, 0.7), fps=25)
        power = np.abs(np.fft.rfft(sound_S * np.hanning(len(sound_S)), 1 << 17)) ** 2
        hz = np.fft.rfftfreq(1 << 17, 1 / SAMPLE_RATE)
        # The comb of harmonics that holds most of the power.
        tried = np.arange(80, 260, 0.5)
        found = tried[np.argmax([np.interp(np.arange(1, 9) * f, hz, power).sum() for f in tried])]
        assert found == pytest.approx(120 * factor, rel=0.02), manner


def heard(config: AffWild2Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loudness and pitch of every part of a video, its expression and who speaks."""
    rows, expressions, people = [], [], []
    for video in list_videos(config):
        sound_S = sound_of(config, video).astype(np.float64)
        for segment in segments_of(config, video):
            part = sound_S[segment.start * 640 : segment.stop * 640]
            windows = np.lib.stride_tricks.sliding_window_view(part, 640)[::320]
            power = (windows**2).mean(1)
            loud = windows[power > np.median(power)] * np.hanning(640)
            likeness = np.fft.irfft(np.abs(np.fft.rfft(loud, 2048)) ** 2)[:, 40:230]
            pitch = np.log(SAMPLE_RATE / (40 + likeness.argmax(1)))
            rows.append((np.log(np.quantile(power, 0.8) + 1e-7), np.median(pitch), pitch.std()))
            expressions.append(segment.expression)
            people.append(video.person)
    return np.array(rows), np.array(expressions), np.array(people)


def accuracy(rows: np.ndarray, label: np.ndarray, person: np.ndarray) -> float:
    """Of people that were not learned from."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return cross_val_score(model, rows, label, groups=person, cv=GroupKFold(6)).mean()


def test_sound_tells_the_expression_where_it_is_emotional_and_not_where_it_is_neutral() -> None:
    many = AffWild2Config(videos=36)
    assert accuracy(*heard(many)) > 0.45
    assert accuracy(*heard(replace(many, audio="neutral"))) < 1 / 8 + 0.08


def test_units_tell_the_expression_and_pose_person_and_mouth_do_not() -> None:
    units, others, label, person = [], [], [], []
    many = AffWild2Config(videos=96)
    for video in list_videos(many):
        act = act_of(many, video)
        play = act.performance
        moving = np.concatenate([play.angles_T3, play.gaze_T2, play.shift_T2, act.opening_T[:, None]], axis=1)
        for segment in segments_of(many, video):
            span = slice(segment.start + 12, segment.stop)
            units.append(play.intensity_T18[span].mean(0))
            others.append(np.concatenate([moving[span].mean(0), moving[span].std(0), [video.person]]))
            label.append(segment.expression)
            person.append(video.person)
    label, person = np.array(label), np.array(person)
    assert accuracy(np.array(units), label, person) > 0.8
    assert accuracy(np.array(others), label, person) < 1 / 8 + 0.08


def test_pictures_and_labels_are_the_same_whatever_the_sound() -> None:
    neutral = replace(TINY, audio="neutral")
    assert aff_wild2_files(neutral) == aff_wild2_files(TINY)
    spec, silent = list_recordings(TINY)[0], list_recordings(neutral)[0]
    ((_, images, truth), (_, film, _)), ((_, same, also), (_, other, _)) = (
        list(of.render(list(of.paths))) for of in (spec, silent)
    )
    assert (images, truth) == (same, also) and film != other
    np.testing.assert_array_equal(read_frames(film, range(50)), read_frames(other, range(50)))


def test_an_interrupted_rendering_goes_on_where_it_stopped(corpus: Storage, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path)).child(f"synthetic-{TINY.fingerprint}")
    shutil.copytree(corpus.uri, storage.uri)
    kept = {entry.name: (entry.etag, storage.read(entry.name)) for entry in storage.list()}
    videos = list_videos(TINY)
    images = images_of(TINY, videos[2])
    for name in (*images[9:], "videos/video7.mp4", MANIFEST_FILE):
        storage.remove(name)
    assert ensure_corpus(Storage(str(tmp_path)), TINY) == storage
    after = {entry.name: (entry.etag, storage.read(entry.name)) for entry in storage.list()}
    assert {name: content for name, (_, content) in after.items()} == {name: kept[name][1] for name in kept}
    rewritten = {name for name, (etag, _) in after.items() if etag != kept[name][0]}
    lists = set(list_files(TINY))
    assert rewritten - lists == {
        *images, f"annotations/{folder_of(videos[2])}.csv", "videos/video7.mp4", MANIFEST_FILE
    }  # fmt: skip


def test_frame_labels_read_the_rendered_tree(corpus: Storage) -> None:
    labels = read_frame_labels(corpus, "all")
    assert labels.targets(labels.videos()[0]).shape == (50, 22)


def test_everyone_is_a_person_of_their_own_with_a_voice_of_their_own() -> None:
    people = range(DEFAULT.videos)
    assert len({identity_of(DEFAULT, person) for person in people}) == len(people)
    assert len({voice_of(DEFAULT, person) for person in people}) == len(people)
    assert identity_of(DEFAULT, 0) != identity_of(replace(DEFAULT, seed=1), 0)


@pytest.mark.parametrize("change", [{"videos": 11}, {"seconds": 1.0}, {"size": 97}, {"audio": "loud"}, {"seed": -1}])
def test_an_impossible_config_names_the_value(change: dict) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
        AffWild2Config(**change)


def test_every_field_of_the_config_changes_the_fingerprint() -> None:
    changes = {"videos": 25, "seconds": 4.0, "size": 96, "audio": "neutral", "seed": 1}
    changed = {replace(DEFAULT, **{name: value}).fingerprint for name, value in changes.items()}
    assert len(changed | {DEFAULT.fingerprint}) == 1 + len(changes)


def test_version_1_is_frozen() -> None:
    """A change that fails here needs a new SYNTHETIC_VERSION and new numbers. The tolerance is for other processors."""
    assert SYNTHETIC_VERSION == 1
    rows = []
    for video in (list_videos(DEFAULT)[index] for index in (5, 22)):
        act = act_of(DEFAULT, video)
        picture, points = renderer_of(DEFAULT, video).render(act.performance.pose(60))
        weights = np.cos(np.arange(points.size)).reshape(points.shape)
        truth = truth_of(DEFAULT, video)
        told = (truth.expression_T + truth.marks_TK.sum(1) + truth.affect_T2.sum(1)) * np.cos(np.arange(125))
        sound = np.sqrt((sound_of(DEFAULT, video) ** 2).mean())
        intensity = act.performance.intensity_T18.sum() / 100
        rows.append([(points * weights).sum(), intensity, picture.mean(), picture.std(), 100 * sound, told.sum()])
    np.testing.assert_allclose(rows, GOLDEN, atol=0.05)
