from __future__ import annotations

from itertools import combinations, pairwise
from typing import get_args

import cv2
import numpy as np
import pytest

from pipelines.action_units import ACTION_UNITS
from pipelines.corpora.registry import ImageName
from pipelines.synthetic.camera import VIEW_ANGLES, Camera
from pipelines.synthetic.contact_sheet import CAPTION, HEADER, contact_sheet
from pipelines.synthetic.mesh import normals, slit_grid
from pipelines.synthetic.openface import euler_angles
from pipelines.synthetic.performance import Pose
from pipelines.synthetic.posing import head_rotation
from pipelines.synthetic.template import MIRROR
from pipelines.synthetic.texture import ATLAS_HEIGHT, ATLAS_WIDTH, REGIONS
from tests.pipelines.faces import PIXELS_PER_D, person, pose, renderer


def moved(units: dict[int, float]) -> np.ndarray:
    """How the landmarks of a frontal face move, in D (x right, y down)."""
    drawn = renderer(3)
    return (drawn.landmarks(pose(units)) - drawn.landmarks(pose())) / PIXELS_PER_D


def gap(points: np.ndarray, above: tuple[int, ...], below: tuple[int, ...]) -> float:
    return float(points[list(below), 1].mean() - points[list(above), 1].mean())


UPPER_LIDS, LOWER_LIDS = (37, 38, 43, 44), (41, 40, 47, 46)
INNER_LIPS = (61, 62, 63), (67, 66, 65)

RAISES = {1: (21, 22), 2: (17, 18, 25, 26), 10: (50, 51, 52), 12: (48, 54), 17: (56, 57, 58), 9: (31, 35)}
LOWERS = {4: (19, 20, 21, 22, 23, 24), 15: (48, 54), 26: (7, 8, 9), 45: UPPER_LIDS}


@pytest.mark.parametrize("unit", RAISES)
def test_a_raising_unit_raises_its_landmarks_past_the_threshold_of_a_geometric_detector(unit: int) -> None:
    assert moved({unit: 5})[list(RAISES[unit]), 1].mean() < -0.03
    assert moved({unit: 2})[list(RAISES[unit]), 1].mean() < -0.008


@pytest.mark.parametrize("unit", LOWERS)
def test_a_lowering_unit_lowers_its_landmarks(unit: int) -> None:
    assert moved({unit: 5})[list(LOWERS[unit]), 1].mean() > 0.03


@pytest.mark.parametrize("unit", [12, 14, 20])
def test_units_that_pull_the_lip_corners_widen_the_mouth(unit: int) -> None:
    move = moved({unit: 5})
    assert move[54, 0] - move[48, 0] > 0.06


def test_lids_and_lips_open_and_close_as_their_units_say() -> None:
    drawn = renderer(3)
    rest = drawn.landmarks(pose())
    lids = gap(rest, UPPER_LIDS, LOWER_LIDS)
    assert lids > 0.06 * PIXELS_PER_D
    assert gap(drawn.landmarks(pose({45: 5})), UPPER_LIDS, LOWER_LIDS) < 0.25 * lids
    assert gap(drawn.landmarks(pose({5: 4})), UPPER_LIDS, LOWER_LIDS) > 1.15 * lids
    assert gap(drawn.landmarks(pose({7: 4})), UPPER_LIDS, LOWER_LIDS) < 0.8 * lids
    assert gap(rest, *INNER_LIPS) < 0.02 * PIXELS_PER_D
    assert gap(drawn.landmarks(pose({25: 4})), *INNER_LIPS) > 0.05 * PIXELS_PER_D
    assert gap(drawn.landmarks(pose({25: 3, 26: 4})), *INNER_LIPS) > 0.20 * PIXELS_PER_D
    for unit in (23, 28):
        thickness = gap(drawn.landmarks(pose({unit: 5})), (50, 51, 52), (58, 57, 56))
        assert thickness < 0.8 * gap(rest, (50, 51, 52), (58, 57, 56))


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_unit_changes_the_picture_where_it_acts_and_nowhere_else(unit: int) -> None:
    drawn = renderer(3)
    rest, _ = drawn.render(pose())
    shown, _ = drawn.render(pose({unit: 5}))
    change = np.abs(shown.astype(int) - rest).max(-1)
    assert (change > 10).sum() > 20
    assert change[:, :40].max() == 0 and change[:, -40:].max() == 0


def test_one_half_of_the_face_can_act_alone() -> None:
    intensity = np.zeros((2, len(ACTION_UNITS)))
    intensity[1, ACTION_UNITS.index(12)] = 5
    drawn = renderer(3)
    move = drawn.landmarks(Pose(intensity)) - drawn.landmarks(pose())
    assert np.linalg.norm(move[54]) > 10 * np.linalg.norm(move[48])


def test_the_average_expression_is_symmetric() -> None:
    move = moved({1: 3, 4: 2, 12: 4, 26: 3})
    np.testing.assert_allclose(move[list(MIRROR)] * (-1, 1), move, atol=0.004)


def test_the_face_fills_the_window_that_models_see() -> None:
    for seed in range(4):
        points = renderer(seed).landmarks(pose())
        assert 46 < points[:, 0].min() and points[:, 0].max() < 178
        assert 45 < points[:, 1].min() and points[:, 1].max() < 172
        assert abs(points[27:31, 0].mean() - 112) < 4


def test_landmarks_lie_on_the_pupils_and_the_open_mouth_that_are_drawn() -> None:
    for seed in range(4):
        drawn = renderer(seed, Camera(size=448, face_pixels=120))
        picture, points = drawn.render(pose({25: 3, 26: 4}))
        brightness = picture.astype(float).mean(-1)
        for corners in ((36, 39), (42, 45)):
            start, end = points[list(corners)]
            line = [start + share * (end - start) for share in np.linspace(0.2, 0.8, 31)]
            across = [brightness[int(y - 1), int(x)] for x, y in line]
            assert 0.3 < (np.argmin(across) / 30) < 0.7
        mouth, chin = points[[62, 66]].mean(0).astype(int), points[[57, 8]].mean(0).astype(int)
        assert brightness[mouth[1], mouth[0]] < 0.5 * brightness[chin[1], chin[0]]


def test_a_camera_on_the_image_right_sees_what_a_head_turned_to_the_image_left_shows() -> None:
    for camera, turned in (((20, 0), {"yaw": -20.0}), ((0, 20), {"pitch": -20.0})):
        orbit = renderer(1, Camera(yaw=camera[0], pitch=camera[1])).landmarks(pose())
        turn = renderer(1).landmarks(pose(**turned))
        relative = [points - points[27] for points in (orbit, turn)]
        np.testing.assert_allclose(*relative, atol=2.5)


def test_all_seven_views_of_mead_show_the_same_moment() -> None:
    moment = pose({12: 4})
    for yaw, pitch in VIEW_ANGLES.values():
        picture, points = renderer(1, Camera(yaw=yaw, pitch=pitch, size=160, face_pixels=43)).render(moment)
        assert picture.shape == (160, 160, 3) and picture.std() > 10
        assert points.min() > 0 and points.max() < 160


def test_openface_angles_follow_its_signs() -> None:
    assert euler_angles(head_rotation(pose(pitch=10.0))) == pytest.approx((np.radians(10), 0, 0))
    assert euler_angles(head_rotation(pose(yaw=10.0))) == pytest.approx((0, np.radians(-10), 0))
    assert euler_angles(head_rotation(pose(roll=10.0))) == pytest.approx((0, 0, np.radians(10)))


def test_the_same_moment_is_drawn_bit_for_bit_again() -> None:
    moment = pose({12: 3, 25: 2}, yaw=12.0)
    first, _ = renderer(2).render(moment)
    person.cache_clear()
    again, _ = renderer(2).render(moment)
    np.testing.assert_array_equal(first, again)


def test_a_cut_separates_its_edges_and_normals_look_outwards() -> None:
    is_open = np.array([False, True, True, False, False, False])
    grid, point_N = slit_grid(5, 6, {2: is_open})
    upper, lower = 2 * 6 + np.arange(6), 3 * 6 + np.arange(6)
    assert (point_N[upper] != point_N[lower])[:5].tolist() == is_open[:5].tolist()
    angle = np.linspace(-np.pi, np.pi, 6)
    height = np.array([0.0, 1.0, 2.0, 2.0, 3.0])
    x, y = np.sin(angle)[None], np.broadcast_to(height[:, None], (5, 6))
    cylinder = np.stack([np.broadcast_to(x, (5, 6)), y, np.broadcast_to(-np.cos(angle)[None], (5, 6))]).reshape(3, -1)
    outwards = normals(cylinder, grid.neighbours_4N)
    assert ((outwards * cylinder * np.array([[1], [0], [1]])).sum(0) > 0.9).all()


def test_no_two_parts_share_a_texel() -> None:
    used = np.zeros((ATLAS_HEIGHT, ATLAS_WIDTH), int)
    for top, left, height, width in REGIONS.values():
        assert top + height <= ATLAS_HEIGHT and left + width <= ATLAS_WIDTH
        used[top : top + height, left : left + width] += 1
    assert used.max() == 1


def test_the_contact_sheet_is_small_enough_for_a_readme() -> None:
    image = contact_sheet(image_format="jpg", people=1)
    assert image[:2] == b"\xff\xd8" and len(image) < 80_000
    with pytest.raises(ValueError, match="gif"):
        contact_sheet(image_format="gif")


def cells(layout: str, *, columns: int, side: int) -> list[np.ndarray]:
    """Pictures of two people, int [columns, side, side, 3] each."""
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(layout, people=2), np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (HEADER + 2 * (side + CAPTION), columns * side, 3)
    tops = (HEADER, HEADER + side + CAPTION)
    return [sheet[top : top + side].reshape(side, columns, side, 3).astype(int).swapaxes(0, 1) for top in tops]


def test_the_contact_sheet_of_takes_shows_each_actor_by_seven_cameras() -> None:
    (first, second) = cells("mead", columns=7, side=170)
    pictures = [*first, *second]
    apart = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(apart) > 10


def test_the_contact_sheet_of_images_has_a_column_for_each_corpus_and_upright_ones_in_the_middle() -> None:
    for row in cells("images", columns=7, side=170):
        fer2013, fer_plus = (get_args(ImageName).index(name) for name in ("fer2013", "fer_plus"))
        for i, j in combinations(range(7), 2):
            assert np.array_equal(row[i], row[j]) is ({i, j} == {fer2013, fer_plus})
        assert (np.ptp(row[fer2013], axis=-1) == 0).all(), "grey"
        celeba = row[get_args(ImageName).index("celeba")]
        margin = round(170 * (1 - 178 / 218) / 2) - 1
        assert (celeba[:, :margin] == 250).all() and (celeba[:, -margin:] == 250).all()
        assert celeba[:, margin + 2 : -margin - 2].mean() < 240


def test_the_contact_sheet_of_aff_wild2_shows_people_as_time_goes_by() -> None:
    (first, second) = cells("aff_wild2", columns=8, side=150)
    assert all(np.abs(now - later).mean() > 0.5 for row in (first, second) for now, later in pairwise(row))
    within = max(np.abs(a - b).mean() for row in (first, second) for a, b in combinations(row, 2))
    assert within < min(np.abs(a - b).mean() for a in first for b in second)


def test_a_camera_with_impossible_values_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="size=7"):
        Camera(size=7)
    with pytest.raises(ValueError, match="distance=1"):
        Camera(distance=1)
