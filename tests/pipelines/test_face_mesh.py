"""MediaPipe's face mesh on synthetic faces, and on real ones where they lie beside the checkout (shared/media)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from pipelines.face_mesh import FaceMesh, FaceMeshUnavailable
from pipelines.face_search import detect_small
from pipelines.face_tracks import FaceTrack, build_tracks
from pipelines.landmarks import eye_distance, flip_landmarks, mesh_to_68
from tests.pipelines.faces import PIXELS_PER_D, pose, renderer
from tests.pipelines.needs import needs_mediapipe

ROOT = Path(__file__).parents[2]
MEDIA = ROOT.parent / "shared" / "media"


needs_media = pytest.mark.skipif(not MEDIA.is_dir(), reason=f"no real footage in {MEDIA}")


@pytest.mark.parametrize("found", [None, "1.2.2"])
def test_without_the_right_mediapipe_the_command_is_named(found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(FaceMeshUnavailable, match="pip install --no-deps .* infra/requirements-faces.txt") as error:
        FaceMesh()
    assert (found or "none") in str(error.value)


@cache
def picture(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic face, uint8 [224, 224, 3], and its landmarks [68, 2]."""
    return renderer(seed).render(pose({12: 2.0}))


@needs_mediapipe
def test_a_face_is_found_where_it_is() -> None:
    image, truth = picture()
    with FaceMesh() as mesh:
        found = mesh.detect(image)
    assert found.shape == (1, 478, 3) and found.dtype == np.float32
    error = np.linalg.norm(mesh_to_68(found)[0, :, :2] - truth, axis=1).mean()
    assert error < 0.05 * PIXELS_PER_D


@needs_mediapipe
def test_a_frame_depends_on_no_other() -> None:
    (image, _), (other, _) = picture(3), picture(4)
    with FaceMesh() as mesh:
        first = mesh.detect(image)
        assert len(mesh.detect(np.zeros_like(image))) == 0
        mesh.detect(other)
        np.testing.assert_array_equal(mesh.detect(image), first)


@needs_mediapipe
def test_a_followed_face_is_lost_at_a_change_of_scene_and_found_again() -> None:
    (image, _), (other, _) = picture(3), picture(4)
    moved, empty = np.roll(other, (40, 60), (0, 1)), np.full_like(image, 255)
    with FaceMesh() as mesh:
        searched = mesh.detect(moved)
    with FaceMesh(follow=True) as mesh:
        assert [len(mesh.detect(frame)) for frame in (image, image, empty, image)] == [1, 1, 0, 1]
        np.testing.assert_array_equal(mesh.detect(moved), searched)


@needs_mediapipe
def test_a_forgotten_face_is_searched_anew() -> None:
    image, _ = picture()
    with FaceMesh(follow=True) as mesh:
        first, second = mesh.detect(image), mesh.detect(image)
        assert np.abs(second - first).max() > 0, "where the face was is not where it is searched"
        mesh.forget()
        np.testing.assert_array_equal(mesh.detect(image), first)


@needs_mediapipe
def test_one_face_can_be_followed() -> None:
    with pytest.raises(ValueError, match="num_faces=2"):
        FaceMesh(2, follow=True)


@needs_mediapipe
def test_a_mirrored_picture_has_mirrored_landmarks() -> None:
    image, _ = picture()
    with FaceMesh() as mesh:
        plain, mirrored = (mesh_to_68(mesh.detect(x)) for x in (image, np.ascontiguousarray(image[:, ::-1])))
    apart = np.linalg.norm(flip_landmarks(mirrored, 224)[..., :2] - plain[..., :2], axis=-1)
    assert apart.mean() < 0.03 * eye_distance(plain)[0]


@needs_mediapipe
def test_faces_of_any_frame_size_come_in_pixels() -> None:
    import cv2

    image, truth = picture()
    wide = cv2.copyMakeBorder(cv2.resize(image, (448, 448)), 0, 0, 100, 92, cv2.BORDER_REPLICATE)
    with FaceMesh() as mesh:
        landmarks = mesh_to_68(mesh.detect(wide))[0]
    assert np.linalg.norm(landmarks[:, :2] - (2 * truth + (100, 0)), axis=1).mean() < 0.1 * PIXELS_PER_D


@needs_mediapipe
def test_as_many_faces_are_found_as_asked_for() -> None:
    pair = np.concatenate([picture(3)[0], picture(4)[0]], 1)
    for wanted in (1, 2, 5):
        with FaceMesh(wanted) as mesh:
            assert len(mesh.detect(pair)) == min(wanted, 2)


@needs_mediapipe
@pytest.mark.parametrize("frame", [np.zeros((224, 224)), np.zeros((224, 224, 3)), np.zeros((224, 224, 4), np.uint8)])
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    with FaceMesh() as mesh, pytest.raises(ValueError, match="uint8"):
        mesh.detect(frame)


@needs_mediapipe
def test_one_mesh_is_open_at_a_time() -> None:
    with FaceMesh() as mesh:
        with pytest.raises(RuntimeError, match="close it first"):
            FaceMesh()
        assert len(mesh.detect(picture()[0])) == 1, "the first goes on"
    mesh.close()
    with pytest.raises(RuntimeError, match="closed"):
        mesh.detect(picture()[0])


def _resident_megabytes() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@needs_mediapipe
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_opening_and_closing_meshes_leaks_no_graphs() -> None:
    image, _ = picture()
    before = 0.0
    for i in range(24):
        with FaceMesh() as mesh:
            mesh.detect(image)
        before = _resident_megabytes() if i == 3 else before
    assert _resident_megabytes() - before < 100, "twenty graphs leak more than 400"


FORKED = """
import os, numpy
from pipelines.face_mesh import FaceMesh
mesh = FaceMesh()
mesh.detect(numpy.zeros((64, 64, 3), numpy.uint8))
child = os.fork()
if not child:
    for use in (FaceMesh, lambda: mesh.detect(numpy.zeros((64, 64, 3), numpy.uint8))):
        try:
            use()
        except RuntimeError as error:
            print("refused:", error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@needs_mediapipe
def test_a_mesh_made_before_a_fork_is_refused_after_it() -> None:
    run = subprocess.run([sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, "a mesh that is left open does not keep the process"
    assert run.stdout.count("refused:") == 2 and "make it in the worker" in run.stdout


def _frames(name: str, crop: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Frames of a clip as squares of 224 pixels, cut at (top, left, side)."""
    import av
    import cv2

    top, left, side = crop
    with av.open(str(MEDIA / name)) as container:
        for frame in container.decode(video=0):
            square = frame.to_ndarray(format="rgb24")[top : top + side, left : left + side]
            yield cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA)


def _tracks(name: str, crop: tuple[int, int, int]) -> tuple[list[FaceTrack], list[int]]:
    """The faces of a clip, and how many were found in each frame."""
    found = []
    with FaceMesh(follow=True) as mesh:

        def detected() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for frame in _frames(name, crop):
                meshes = mesh.detect(frame)
                found.append(len(meshes))
                yield frame, meshes

        return build_tracks(detected()), found


@needs_media
@needs_mediapipe
@pytest.mark.parametrize(
    "name, crop, frames",
    [("pyfeat_WolfgangLanger_Pexels.mp4", (0, 250, 360), 472), ("pyfeat_single_face.mp4", (0, 120, 360), 72)],
)
def test_a_real_face_is_followed_through_every_frame(name: str, crop: tuple[int, int, int], frames: int) -> None:
    tracks, found = _tracks(name, crop)
    assert found == [1] * frames
    (track,) = tracks
    assert track.valid_T.all()


@needs_media
@needs_mediapipe
def test_no_face_is_found_in_clouds() -> None:
    tracks, found = _tracks("pyfeat_no_face.mp4", (0, 210, 540))
    assert tracks == [] and sum(found) == 0 and len(found) == 95


@needs_media
@needs_mediapipe
def test_a_face_that_leaves_is_followed_until_then() -> None:
    (track,), found = _tracks("pyfeat_face_noface.mov", (0, 180, 540))
    last = int(np.flatnonzero(track.valid_T)[-1])
    assert track.valid_T[: last + 1].all() and 60 < last < len(found) - 60


@needs_media
@needs_mediapipe
def test_every_face_of_a_group_is_found_and_numbered() -> None:
    import cv2

    image = cv2.cvtColor(cv2.imread(str(MEDIA / "pyfeat_multi_face.jpg")), cv2.COLOR_BGR2RGB)
    with FaceMesh(num_faces=10) as mesh:
        tracks = build_tracks([(image, detect_small(mesh, image))])
    assert [track.face_id for track in tracks] == [0, 1, 2, 3, 4]
    widths = [float(track.box_T4[0, 2]) for track in tracks]
    assert 110 >= widths[0] and widths[-1] >= 70
