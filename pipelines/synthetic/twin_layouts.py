"""Where the clips of a twin lie, what they show, and what the lists beside them say, as pipelines.corpora reads it.

    dfew         Clip/jpg_256/<NNNNN>/<NNNNN>.jpg, EmoLabel_DataSplit, Annotation/annotation.csv
    ferv39k      2_ClipsforFaceCrop/<Scene>/<Emotion>/<NNNN>/<NNNNN>.jpg, 4_setups/All_scenes
    mafw         data/frames/<NNNNN>/<NNNNN>.png, split/{single,compound}
    crema_d      face_aligned/<actor>_<sentence>_<emotion>_<level>/<NNNNN>.jpg, VideoDemographics.csv
    ravdess      face_aligned/Actor_<NN>/02-01-<emotion>-<intensity>-<statement>-<repetition>-<NN>/<NNNNN>.jpg
    enterface05  face_aligned/subject_<N>/<emotion>/sentence_<K>/s<N>_<em>_<K>/<NNNNN>.jpg
    mfa          videos/{na,persian}/vid_<n>_<k>.mp4, labels.csv
    cmu_mosei    Videos/Segmented/Combined/<video>_<clip>.mp4, labels.csv
    table        videos/<person>/<NNN>.mp4, labels.csv

Nobody is in two folds or parts, not even in corpora that do not say who is who.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from pipelines.corpora import cmu_mosei, crema_d, dfew, enterface05, ferv39k, mafw, mfa, ravdess
from pipelines.synthetic.clip_specs import BASE64
from pipelines.synthetic.config import TwinConfig, TwinName

_TRAIN_AND_TEST = ("train",) * 4 + ("test",)
_FIXED_PARTS = ("train",) * 3 + ("validation", "test")
"""Parts of five equal shares of a corpus."""
_SCENES = ("Action", "Crime", "DailyLife", "School", "War")
_TABLE_CLASSES = ("angry", "happy", "neutral", "sad")
_MFA_MIXED = ((), ("annoyed", "contempt"), ("anger", "furious"))
_MOSEI_MIXED = ((), ("happiness", "surprise"), ("sadness", "anger"))
_CLIPS_PER_PERSON, _FEWEST_PEOPLE = 5, 3  # of a share
_STREAM = 102  # sets the stream apart from those of what is filmed


class TwinClip(NamedTuple):
    """One clip of a twin."""

    path: str
    """Of a video, or of the folder of its images."""
    words: tuple[str, ...]
    """The corpus's names of what is shown."""
    part: str
    """Empty for a clip that is in no part."""
    person: int
    level: int | None = None
    """Of ours, where the name of the clip tells it."""


@dataclass(frozen=True)
class Layout:
    """How a corpus is laid out."""

    clips: Callable[[TwinConfig], list[TwinClip]]
    lists: Callable[[Sequence[TwinClip]], dict[str, str]]
    """Text files by name."""
    image: str = "{:05d}.jpg"
    """Name of the image of a frame, counted from 1; empty where clips are videos."""


_Shown = Sequence[tuple[str, ...]]
"""Words of several clips."""


class _Slot(NamedTuple):
    """A clip before it has a name."""

    share: int
    words: tuple[str, ...]
    person: int
    take: int = 0
    """Counts the clips that an actor plays of a class."""


def _crowd(config: TwinConfig, classes: Sequence[str], *, mixed: Sequence[_Shown] = ((),) * 5) -> list[_Slot]:
    """Clips of five shares in random order: of every class, and for each share what is `mixed` of several or none."""
    key = (config.seed, get_args(TwinName).index(config.corpus))
    rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(_STREAM,)))
    slots = []
    for share, others in enumerate(mixed):
        shown = [(word,) for word in classes] * config.clips_per_class + list(others)
        people = max(_FEWEST_PEOPLE, len(shown) // _CLIPS_PER_PERSON)
        slots += [_Slot(share, words, 5 * int(rng.integers(people)) + share) for words in shown]
    return [slots[i] for i in rng.permutation(len(slots))]


def _cast(config: TwinConfig, classes: Sequence[str], folds: Sequence[Sequence[int]]) -> Iterator[_Slot]:
    """Clips of actors, every class by as many of a fold as there are clips of it, then by these again."""
    for share, people in enumerate(folds):
        for number in range(config.clips_per_class):
            for word in classes:
                yield _Slot(share, (word,), people[number % len(people)], number // len(people))


def _dfew(config: TwinConfig) -> list[TwinClip]:
    """Beside the clear clips there are some of other people that show two emotions: they have votes and are in no
    list."""
    slots = _crowd(config, dfew.CLASSES)
    clips = [(slot.words, str(slot.share + 1), slot.person) for slot in slots]
    strangers = 1 + max(slot.person for slot in slots)
    clips += [(dfew.CLASSES[i : i + 2], "", strangers + i) for i in range(len(dfew.CLASSES) - 1)]
    return [TwinClip(f"Clip/jpg_256/{number:05d}", *clip) for number, clip in enumerate(clips, 1)]


def _dfew_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    label = {clip.path: str(dfew.CLASSES.index(clip.words[0]) + 1) for clip in clips}
    lists = {}
    for part, name, listed in _folds([clip for clip in clips if clip.part]):
        rows = [(int(clip.path[-5:]), label[clip.path]) for clip in listed]
        lists[f"{dfew.SETS}/{part}(single-labeled)/{name}.csv"] = _csv([("video_name", "label"), *rows])
    votes = [(int(clip.path[-5:]), *_votes(clip)) for clip in clips]
    lists[dfew.ANNOTATION] = _csv([("order", *dfew.VOTE_COLUMNS), *votes])
    return lists


def _votes(clip: TwinClip) -> list[int]:
    """More than six of ten for a clear emotion, as in the corpus; five each for two."""
    rng = np.random.default_rng(int(clip.path[-5:]))
    sure = int(rng.integers(7, 10)) if len(clip.words) == 1 else 5
    votes = np.array([sure * (word in clip.words) for word in dfew.CLASSES])
    others = votes == 0
    votes[others] = rng.multinomial(dfew.VOTERS - votes.sum(), np.full(others.sum(), 1 / others.sum()))
    return votes.tolist()


def _ferv39k(config: TwinConfig) -> list[TwinClip]:
    clips = []
    for number, slot in enumerate(_crowd(config, ferv39k.CLASSES), 1):
        path = f"{ferv39k.CLIPS}/{_SCENES[number % len(_SCENES)]}/{slot.words[0]}/{number:04d}"
        clips.append(TwinClip(path, slot.words, _TRAIN_AND_TEST[slot.share], slot.person))
    return clips


def _ferv39k_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    return {
        f"{ferv39k.SETUP}/{part}_All.csv": "".join(
            f"{clip.path.removeprefix(f'{ferv39k.CLIPS}/')} {clip.words[0]}\n" for clip in clips if clip.part == part
        )
        for part in ("train", "test")
    }


def _mafw(config: TwinConfig) -> list[TwinClip]:
    """Of a compound as many clips as of another class in one fold, but at least two, each in another fold."""
    compounds: list[list[tuple[str, ...]]] = [[] for _ in range(mafw.FOLDS)]
    for number, name in enumerate(mafw.COMPOUNDS):
        for take in range(max(2, config.clips_per_class)):
            compounds[(number + take) % mafw.FOLDS].append(tuple(name.split("_")))
    return [
        TwinClip(f"data/frames/{number:05d}", slot.words, str(slot.share + 1), slot.person)
        for number, slot in enumerate(_crowd(config, mafw.CLASSES, mixed=compounds), 1)
    ]


def _mafw_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    lists = {}
    for protocol, most in (("single", 1), ("compound", len(mafw.CLASSES))):
        for part, name, listed in _folds([clip for clip in clips if len(clip.words) <= most]):
            rows = (f"{clip.path[-5:]}.mp4 {'_'.join(clip.words)}\n" for clip in listed)
            lists[f"split/{protocol}/no_caption/{name}/{part}.txt"] = "".join(rows)
    return lists


def _crema_d(config: TwinConfig) -> list[TwinClip]:
    """Through the sentences in their order, of which the first is said at three levels."""
    clips = []
    for slot in _cast(config, crema_d.CLASSES, crema_d.FOLDS):
        told = "XX" if slot.words == ("NEU",) or slot.take else crema_d.LEVELS[slot.person % 3]
        path = f"face_aligned/{slot.person}_{crema_d.SENTENCES[slot.take]}_{slot.words[0]}_{told}"
        level = {"LO": 1, "MD": 2, "HI": 3}.get(told)
        clips.append(TwinClip(path, slot.words, str(slot.share + 1), slot.person, level))
    return clips


def _crema_d_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    """Made up: what is told of the actors does not show in their faces."""
    rows: list[tuple] = [("ActorID", "Age", "Sex", "Race", "Ethnicity")]
    for actor in sorted({clip.person for clip in clips}):
        rng = np.random.default_rng(actor)
        race = rng.choice(("African American", "Asian", "Caucasian", "Unknown"))
        ethnicity = rng.choice(("Hispanic", "Not Hispanic"))
        rows.append((actor, rng.integers(20, 75), rng.choice(("Female", "Male")), race, ethnicity))
    return {crema_d.DEMOGRAPHICS: _csv(rows)}


def _ravdess(config: TwinConfig) -> list[TwinClip]:
    """A normal intensity is our second level, a strong one the third."""
    clips = []
    for slot in _cast(config, ravdess.CLASSES, ravdess.FOLDS):
        intensity = 1 if slot.words == ("neutral",) else 1 + (slot.take + slot.person) % 2
        emotion = 1 + ravdess.CLASSES.index(slot.words[0])
        numbers = (2, 1, emotion, intensity, 1 + slot.take // 2, 1 + slot.take % 2, slot.person)
        path = f"face_aligned/Actor_{slot.person:02d}/" + "-".join(f"{number:02d}" for number in numbers)
        clips.append(TwinClip(path, slot.words, str(slot.share + 1), slot.person, 1 + intensity))
    return clips


def _enterface05(config: TwinConfig) -> list[TwinClip]:
    people = [[number for number in fold if f"subject_{number}" != enterface05.UNCUT] for fold in enterface05.FOLDS]
    clips = []
    for slot in _cast(config, enterface05.CLASSES, people):
        word, sentence = slot.words[0], slot.take + 1
        place = f"face_aligned/subject_{slot.person}/{word}/sentence_{sentence}"
        path = f"{place}/s{slot.person}_{word[:2]}_{sentence}"
        clips.append(TwinClip(path, slot.words, str(slot.share + 1), slot.person))
    return clips


def _mfa(config: TwinConfig) -> list[TwinClip]:
    clips, takes = [], Counter()
    for slot in _crowd(config, mfa.CLASSES, mixed=(_MFA_MIXED,) * 5):
        takes[slot.person] += 1
        culture = ("na", "persian")[slot.person % 2]
        path = f"{mfa.VIDEOS}/{culture}/vid_{slot.person + 1}_{takes[slot.person]}.mp4"
        clips.append(TwinClip(path, slot.words, _FIXED_PARTS[slot.share], slot.person))
    return clips


def _mfa_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    rows = [("filename", "gender", "emotions", "split")]
    for clip in clips:
        gender = ("female", "male")[clip.person // 2 % 2]
        name = clip.path.removeprefix(f"{mfa.VIDEOS}/")
        rows.append((name, gender, str(list(clip.words) or ["none"]), clip.part))
    return {mfa.LABELS: _csv(rows)}


def _cmu_mosei(config: TwinConfig) -> list[TwinClip]:
    clips, takes = [], Counter()
    for slot in _crowd(config, cmu_mosei.CLASSES, mixed=(_MOSEI_MIXED,) * 5):
        digest = hashlib.sha256(f"{config.fingerprint}/{slot.person}".encode()).digest()
        video = "".join(BASE64[byte % 64] for byte in digest[:11])
        path = f"{cmu_mosei.SEGMENTS}/{video}_{takes[slot.person]}.mp4"
        clips.append(TwinClip(path, slot.words, _FIXED_PARTS[slot.share], slot.person))
        takes[slot.person] += 1
    return clips


def _cmu_mosei_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    """Scores are means of three annotators."""
    told = {ours: theirs for theirs, ours in cmu_mosei.PARTS.items()}
    rows: list[tuple] = [("video", "clip", *cmu_mosei.CLASSES, "split")]
    for number, clip in enumerate(clips):
        rng = np.random.default_rng(number)
        scores = [round(rng.integers(1, 9) / 3, 4) * (word in clip.words) for word in cmu_mosei.CLASSES]
        video, _, segment = clip.path.removeprefix(f"{cmu_mosei.SEGMENTS}/").removesuffix(".mp4").rpartition("_")
        rows.append((video, segment, *scores, told[clip.part]))
    return {cmu_mosei.LABELS: _csv(rows)}


def _table(config: TwinConfig) -> list[TwinClip]:
    clips, takes = [], Counter()
    for slot in _crowd(config, _TABLE_CLASSES):
        takes[slot.person] += 1
        path = f"videos/p{slot.person + 1:03d}/{takes[slot.person]:03d}.mp4"
        clips.append(TwinClip(path, slot.words, str(slot.share + 1), slot.person))
    return clips


def _table_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    rows = [("path", "label", "subject", "fold")]
    rows += [(clip.path, clip.words[0], clip.path.split("/")[1], clip.part) for clip in clips]
    return {"labels.csv": _csv(rows)}


def _no_lists(clips: Sequence[TwinClip]) -> dict[str, str]:
    """For corpora whose names tell everything."""
    return {}


def _folds(clips: Sequence[TwinClip]) -> Iterator[tuple[str, str, list[TwinClip]]]:
    """Train and test list of five sets: "train" or "test", the name of the set, the clips."""
    for fold in range(1, 6):
        yield "train", f"set_{fold}", [clip for clip in clips if clip.part != str(fold)]
        yield "test", f"set_{fold}", [clip for clip in clips if clip.part == str(fold)]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


LAYOUTS: dict[TwinName, Layout] = {
    "dfew": Layout(_dfew, _dfew_lists),
    "ferv39k": Layout(_ferv39k, _ferv39k_lists),
    "mafw": Layout(_mafw, _mafw_lists, image="{:05d}.png"),
    "crema_d": Layout(_crema_d, _crema_d_lists),
    "ravdess": Layout(_ravdess, _no_lists),
    "enterface05": Layout(_enterface05, _no_lists),
    "mfa": Layout(_mfa, _mfa_lists, image=""),
    "cmu_mosei": Layout(_cmu_mosei, _cmu_mosei_lists, image=""),
    "table": Layout(_table, _table_lists, image=""),
}
