"""Twins of corpora of face images: stills of procedural faces in official layouts.

A still is the strongest moment of a short performance. Who is on screen, the light, the framing and everything else but
the action units are drawn without knowledge of the emotion. FER2013 and FER+ are drawn from the same streams and kept
without loss, in files that differ: of equal configs they hold the same pixels.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import cv2
import numpy as np

from pipelines.corpora.registry import ImageName
from pipelines.quarantine import Reason
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import figure_of
from pipelines.synthetic.clip_specs import Draw
from pipelines.synthetic.config import FPS, ImageTwinConfig
from pipelines.synthetic.identity import draw_identity
from pipelines.synthetic.image_layouts import Place, TwinImage, affect_of, list_images, place_of
from pipelines.synthetic.performance import draw_performance
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import background_frame, draw_scene, paint_background
from pipelines.synthetic.twins import encode_image

FACE_SHARE: dict[ImageName, float] = {
    "affectnet": 0.36,
    "casia_webface": 0.30,
    "celeba": 0.30,
    "imdb_wiki": 0.26,
    "raf_db": 0.42,
    "fer2013": 0.42,
    "fer_plus": 0.42,
}
"""D (distance of the outer eye corners) over the side of the picture, on average."""
FACE_CENTRE = (0.0, 0.42, 0.35)
"""Point in D in the middle of the picture, on average."""
FRAMING = 0.08
"""How much size (as a share) and middle (in D) of a face vary."""
SECONDS = 2.0
"""How long the performance lasts of which a still is taken."""
TALKING_SHARE = 1 / 3
GREY_SIZE = 48
"""Pixels of FER2013's images; they are drawn at twice that."""
CELEBA_WIDTH = 178 / 218
TINY = 10
"""Pixels of the image that is too small."""
SUPERSAMPLING = 1.25
_STREAMS = 103  # sets the streams apart from those of the other synthetic corpora
_FAMILIES = ("affectnet", "casia_webface", "celeba", "imdb_wiki", "raf_db", "fer2013")
_PNG_COMPRESSION = {"fer2013": 9, "fer_plus": 0}
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ImageSpec:
    """Images that are rendered at once: those of a person, or those of an archive."""

    config: ImageTwinConfig
    archive: str
    """Below the root; empty for files in folders."""
    images: tuple[TwinImage, ...]

    @property
    def person(self) -> int:
        return self.images[0].person

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(place_of(self.config, image) for image in self.images)

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.archive,) if self.archive else tuple(place.path for place in self.places)

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest."""
        return [
            {**image._asdict(), **place._asdict(), "affect": affect_of(image), "frames": 1}
            for image, place in zip(self.images, self.places, strict=True)
        ]

    def render(self, paths: list[str]) -> Iterator[tuple[str, bytes, None]]:
        """Path and content of each image or of the archive; there is no annotation."""
        if self.archive and paths:
            members = {
                place.path.removeprefix(f"{self.archive}/"): render_image(self.config, image)
                for image, place in zip(self.images, self.places, strict=True)
            }
            yield self.archive, pack(self.archive, members), None
        elif not self.archive:
            wanted = set(paths)
            for image, place in zip(self.images, self.places, strict=True):
                if place.path in wanted:
                    yield place.path, render_image(self.config, image), None


def list_image_twins(config: ImageTwinConfig) -> list[ImageSpec]:
    """Every person or archive of a twin."""

    def group(image: TwinImage) -> tuple[str, int]:
        archive = place_of(config, image).archive
        return archive, 0 if archive else image.person

    images = sorted(list_images(config), key=group)
    return [ImageSpec(config, archive, tuple(found)) for (archive, _), found in groupby(images, key=group)]


def render_image(config: ImageTwinConfig, image: TwinImage) -> bytes:
    """The file of an image, in the format that its name says."""
    if image.flaw == Reason.no_face:
        picture = _empty_scene(config, image)
    else:
        picture = _portrait(config, image)
    if image.flaw == Reason.too_small:
        picture = cv2.resize(picture, (TINY, TINY), interpolation=cv2.INTER_AREA)
    if config.corpus in _PNG_COMPRESSION:
        options = (cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION[config.corpus])
        return cv2.imencode(".png", picture, options)[1].tobytes()
    content = encode_image(place_of(config, image).path, picture)
    return content[: len(content) // 2] if image.flaw == Reason.decode else content


def pack(archive: str, members: Mapping[str, bytes]) -> bytes:
    """A zip or tar archive of stored members and their folders, without times, so that equal members give equal
    bytes."""
    folders = sorted({f"{folder}/" for name in members for folder in PurePosixPath(name).parents if folder.name})
    files = {**dict.fromkeys(folders, b""), **dict(sorted(members.items()))}
    content = io.BytesIO()
    if archive.endswith(".zip"):
        with zipfile.ZipFile(content, "w") as packed:
            for name, data in files.items():
                packed.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
    else:
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as packed:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.type, member.size = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE, len(data)
                packed.addfile(member, io.BytesIO(data))
    return content.getvalue()


def _portrait(config: ImageTwinConfig, image: TwinImage) -> np.ndarray:
    """Picture uint8 [H, W, 3], RGB, or [H, W], grey."""
    is_grey = config.corpus in _PNG_COMPRESSION
    size = 2 * GREY_SIZE if is_grey else config.size
    rng = np.random.default_rng(_stream(config, Draw.LABEL, image.number))
    share = FACE_SHARE[config.corpus] * rng.uniform(1 - FRAMING, 1 + FRAMING)
    target = np.array(FACE_CENTRE) + (*rng.uniform(-FRAMING, FRAMING, 2), 0.0)
    camera = Camera(size=size, face_pixels=share * size, target=tuple(target))
    performance = draw_performance(
        _stream(config, Draw.PERFORMANCE, image.number),
        image.emotion,
        image.level,
        frames=round(SECONDS * FPS),
        fps=FPS,
        talking=bool(rng.random() < TALKING_SHARE),
    )
    figure = figure_of(draw_identity(np.random.default_rng(_stream(config, Draw.IDENTITY, image.person))))
    scene = draw_scene(np.random.default_rng(_stream(config, Draw.SCENE, image.number)))
    renderer = Renderer(figure, scene, camera, supersampling=SUPERSAMPLING)
    picture, _ = renderer.render(performance.pose(performance.apex))
    if is_grey:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (GREY_SIZE, GREY_SIZE), interpolation=cv2.INTER_AREA)
    if config.corpus == "celeba":
        margin = round(size * (1 - CELEBA_WIDTH) / 2)
        return picture[:, margin : size - margin]
    return picture


def _empty_scene(config: ImageTwinConfig, image: TwinImage) -> np.ndarray:
    scene = draw_scene(np.random.default_rng(_stream(config, Draw.SCENE, image.number)))
    return background_frame(paint_background(scene, config.size), scene, 0.0, config.size)


def _stream(config: ImageTwinConfig, draw: Draw, key: int) -> np.random.SeedSequence:
    """Where the randomness of one aspect of a person or an image comes from."""
    family = _FAMILIES.index("fer2013" if config.corpus == "fer_plus" else config.corpus)
    return np.random.SeedSequence((config.seed, family, key), spawn_key=(_STREAMS, int(draw)))
