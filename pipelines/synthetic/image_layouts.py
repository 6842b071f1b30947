"""Where the images of a twin lie, what they show, and the lists beside them, as pipelines.corpora reads it.

    affectnet      {train,val}_set/images/<ID>.jpg, annotations/<ID>_{exp,val,aro}.npy
    casia_webface  CASIA-WebFace/<identity>/<NNN>.jpg, and three bad files
    celeba         Img/img_align_celeba.zip, Anno/identity_CelebA.txt, Eval/list_eval_partition.txt
    imdb_wiki      imdb_crop.tar, wiki_crop.tar
    raf_db         basic/Image/aligned/{train,test}_<N>_aligned.jpg, basic/EmoLabel/list_patition_label.txt
    fer2013        {train,test}/<emotion>/{Training,PublicTest,PrivateTest}_<row>.png
    fer_plus       FER2013{Train,Valid,Test}/fer<row>.png, fer2013new.csv; of equal images and seed the faces of fer2013

Every person shows each emotion once. Nobody is in two parts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.corpora import affectnet, celeba, fer_plus, raf_db
from pipelines.corpora.registry import ImageName
from pipelines.quarantine import Reason
from pipelines.synthetic.affect_acting import CIRCUMPLEX
from pipelines.synthetic.config import ImageTwinConfig
from pipelines.synthetic.expressions import EMOTIONS, LEVELS

WORDS: dict[ImageName, dict[str, str]] = {
    "affectnet": dict(
        angry="Anger", contempt="Contempt", disgusted="Disgust", fear="Fear", happy="Happy", neutral="Neutral",
        sad="Sad", surprised="Surprise",
    ),
    "raf_db": dict(
        angry="Anger", disgusted="Disgust", fear="Fear", happy="Happiness", neutral="Neutral", sad="Sadness",
        surprised="Surprise",
    ),
    # FER2013 has no word for contempt, which FER+ found among its neutral faces.
    "fer2013": dict(
        angry="angry", contempt="neutral", disgusted="disgust", fear="fear", happy="happy", neutral="neutral",
        sad="sad", surprised="surprise",
    ),
    "fer_plus": dict(
        angry="anger", contempt="contempt", disgusted="disgust", fear="fear", happy="happiness", neutral="neutral",
        sad="sadness", surprised="surprise",
    ),
}  # fmt: skip
"""The corpus's names of our emotions, where it has any."""
AFFECT = {emotion: CIRCUMPLEX[word] for emotion, word in WORDS["raf_db"].items()} | {"contempt": (-0.55, 0.2)}
"""Valence and arousal of an emotion at its strongest."""
AFFECT_SHARE = {1: 0.45, 2: 0.7, 3: 1.0}
"""Share of them at our levels."""
FLAWS = (Reason.decode, Reason.no_face, Reason.too_small)
"""What cleaning should say of the bad files: a truncated one, one without a face, one of ten pixels."""
_PARTS = ("train", "test", "train", "train", "train", "validation", "train", "train")
"""Of eight people."""
_SPLIT_VOTES = 0.08
"""Share of FER+'s images for learning on which people do not agree."""
_STREAM = 104  # sets the stream apart from those of what is filmed


class TwinImage(NamedTuple):
    """One image of a twin."""

    number: int
    """Counts the images of a corpus."""
    person: int
    emotion: str
    level: int
    part: str
    flaw: str = ""
    """Empty, or the status of a bad file after cleaning."""


class Place(NamedTuple):
    """Where an image lies."""

    path: str
    """Below the root of the corpus; in an archive below its path."""
    archive: str = ""


def list_images(config: ImageTwinConfig) -> list[TwinImage]:
    """Every image of a twin, those of a person after each other."""
    emotions = [emotion for emotion in EMOTIONS if emotion in WORDS.get(config.corpus, EMOTIONS)]
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(_STREAM,)))
    images = []
    for number in range(config.images):
        person, shown = divmod(number, len(emotions))
        level = int(rng.choice(LEVELS))
        images.append(TwinImage(number, person, emotions[shown], level, _PARTS[person % len(_PARTS)]))
    if config.corpus == "casia_webface":
        images[:0] = [images[0]._replace(number=config.images + k, flaw=str(flaw)) for k, flaw in enumerate(FLAWS)]
    return images


def place_of(config: ImageTwinConfig, image: TwinImage) -> Place:
    return _PLACES[config.corpus](config, image)


def image_files(config: ImageTwinConfig) -> dict[str, bytes]:
    """The lists that come with a corpus, by name."""
    lists = _FILES.get(config.corpus)
    return lists(config, list_images(config)) if lists else {}


def affect_of(image: TwinImage) -> tuple[float, float]:
    """Valence and arousal."""
    valence, arousal = (AFFECT_SHARE[image.level] * value for value in AFFECT[image.emotion])
    return round(valence, 4), round(arousal, 4)


def _affectnet(config: ImageTwinConfig, image: TwinImage) -> Place:
    return Place(f"{'train' if image.part == 'train' else 'val'}_set/images/{image.number}.jpg")


def _affectnet_files(config: ImageTwinConfig, images: Sequence[TwinImage]) -> dict[str, bytes]:
    files = {}
    for image in images:
        stem = _affectnet(config, image).path.replace("/images/", "/annotations/").removesuffix(".jpg")
        expression = affectnet.CLASSES.index(WORDS["affectnet"][image.emotion])
        for kind, value in zip(("exp", "val", "aro"), (expression, *affect_of(image)), strict=True):
            content = io.BytesIO()
            np.save(content, np.array(str(value)))
            files[f"{stem}_{kind}.npy"] = content.getvalue()
    return files


def _casia_webface(config: ImageTwinConfig, image: TwinImage) -> Place:
    shown = image.number % len(EMOTIONS) if not image.flaw else len(EMOTIONS) + FLAWS.index(image.flaw)
    return Place(f"CASIA-WebFace/{45 + 9 * image.person:07d}/{shown + 1:03d}.jpg")


def _celeba(config: ImageTwinConfig, image: TwinImage) -> Place:
    archive = "Img/img_align_celeba.zip"
    return Place(f"{archive}/img_align_celeba/{image.number + 1:06d}.jpg", archive)


def _celeba_files(config: ImageTwinConfig, images: Sequence[TwinImage]) -> dict[str, bytes]:
    numbers = {"train": 0, "validation": 1, "test": 2}
    names = {image: _celeba(config, image).path.rpartition("/")[2] for image in images}
    people = [f"{name} {image.person + 1}\n" for image, name in names.items()]
    parts = [f"{name} {numbers[image.part]}\n" for image, name in names.items()]
    return {celeba.IDENTITIES: "".join(people).encode(), celeba.PARTITION: "".join(parts).encode()}


def _imdb_wiki(config: ImageTwinConfig, image: TwinImage) -> Place:
    """Half of the people are from either source."""
    born, taken = 1930 + image.person * 7 % 60, 2000 + image.number % 15
    if image.person % 2:
        source, person = "wiki_crop", f"{10_000 + image.person}"
        name = f"{person}_{born}-05-{1 + image.number % len(EMOTIONS):02d}_{taken}.jpg"
    else:
        source, person = "imdb_crop", f"nm{image.person + 1:07d}"
        name = f"{person}_rm{4096 + image.number}_{born}-5-9_{taken}.jpg"
    name = f"{person[-2:]}/{name}"
    return Place(f"{source}.tar/{source}/{name}", f"{source}.tar")


def _raf_db(config: ImageTwinConfig, image: TwinImage) -> Place:
    name = f"train_{image.number + 1:05d}" if image.part == "train" else f"test_{image.number + 1:04d}"
    return Place(f"basic/Image/aligned/{name}_aligned.jpg")


def _raf_db_files(config: ImageTwinConfig, images: Sequence[TwinImage]) -> dict[str, bytes]:
    lines = []
    for image in images:
        name = _raf_db(config, image).path.rpartition("/")[2].replace("_aligned", "")
        lines.append(f"{name} {1 + raf_db.CLASSES.index(WORDS['raf_db'][image.emotion])}\n")
    return {raf_db.LISTS[0]: "".join(lines).encode()}


def _fer2013(config: ImageTwinConfig, image: TwinImage) -> Place:
    usage = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}[image.part]
    word = WORDS["fer2013"][image.emotion]
    return Place(f"{'train' if image.part == 'train' else 'test'}/{word}/{usage}_{image.number}.png")


def _fer_plus(config: ImageTwinConfig, image: TwinImage) -> Place:
    folder = next(folder for folder, part in fer_plus.PARTS.items() if part == image.part)
    return Place(f"{folder}/fer{image.number:07d}.png")


def _fer_plus_files(config: ImageTwinConfig, images: Sequence[TwinImage]) -> dict[str, bytes]:
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(_STREAM, 1)))
    usage = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    rows: list[tuple] = [("Usage", "Image name", *fer_plus.CLASSES, *fer_plus.OTHERS)]
    for image in images:
        name = _fer_plus(config, image).path.rpartition("/")[2]
        rows.append((usage[image.part], name, *_votes(rng, image)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return {fer_plus.LIST: text.getvalue().encode()}


def _votes(rng: np.random.Generator, image: TwinImage) -> list[int]:
    """Of ten people: most for what is shown, or hardly more than for something else."""
    is_split = bool(rng.random() < _SPLIT_VOTES) and image.part == "train"
    shown = fer_plus.CLASSES.index(WORDS["fer_plus"][image.emotion])
    other = (shown + int(rng.integers(1, len(fer_plus.CLASSES)))) % len(fer_plus.CLASSES)
    most = 5 if is_split else int(rng.integers(7, 11))
    votes = [0] * len(fer_plus.CLASSES + fer_plus.OTHERS)
    votes[shown], votes[other] = most, 10 - most
    return votes


_PLACES: dict[ImageName, Callable[[ImageTwinConfig, TwinImage], Place]] = {
    "affectnet": _affectnet,
    "casia_webface": _casia_webface,
    "celeba": _celeba,
    "imdb_wiki": _imdb_wiki,
    "raf_db": _raf_db,
    "fer2013": _fer2013,
    "fer_plus": _fer_plus,
}
_FILES: dict[ImageName, Callable[[ImageTwinConfig, Sequence[TwinImage]], dict[str, bytes]]] = {
    "affectnet": _affectnet_files,
    "celeba": _celeba_files,
    "raf_db": _raf_db_files,
    "fer_plus": _fer_plus_files,
}
