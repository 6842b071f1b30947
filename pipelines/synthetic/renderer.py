"""A posed figure, a scene and a camera become a picture and its ground truth.

OpenCV's z-buffer rasteriser interpolates texture coordinates and light over the triangles; colour is looked up per
pixel. Pictures are drawn larger than asked for and averaged down.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.camera import Camera
from pipelines.synthetic.figure import Figure
from pipelines.synthetic.mesh import combine, normals
from pipelines.synthetic.performance import Pose
from pipelines.synthetic.posing import PosedFigure, pose_figure, pose_vertices
from pipelines.synthetic.scene import Scene, background_frame, light_direction, paint_background
from pipelines.synthetic.shadows import sky_weights

EXPOSURE = 1.7
"""Linear light on a fully lit white surface."""
SKY_SHARE = 0.75
"""Share of the ambient light that folds and hollows of the body hide; the rest is light from other skin."""
FOLD_DEPTH = 0.60
"""Share of the light that the deepest fold swallows."""
GLINT = 380.0
"""Brightness of a full specular reflection of a key light of strength 1, of 255."""
LIGHT_GAIN = 0.5
"""The rasteriser carries values in 0..1: display-referred light up to 2."""
BLEED = np.array([[0.34], [0.18], [0.11]], np.float32)
"""How far red, green and blue light bleeds around the terminator of skin (subsurface scattering)."""
SOFTNESS = 0.04
"""The same for every surface: key lights have a size."""
FAR = 60.0


class Renderer:
    """Draws one person in one scene through one camera. Holds only arrays; not shared between threads."""

    def __init__(self, figure: Figure, scene: Scene, camera: Camera, *, supersampling: float = 1.5) -> None:
        self.figure, self.scene, self.camera = figure, scene, camera
        self.side = round(camera.size * supersampling)
        self.background = paint_background(scene, camera.size)
        self.settings = cv2.TriangleRasterizeSettings()
        self.settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED).setCullingMode(cv2.RASTERIZE_CULLING_NONE)
        self.corners = np.ascontiguousarray(figure.faces_F3.T, np.intp)
        self.light = (camera.rotation @ light_direction(scene)).astype(np.float32)
        half = self.light + np.array([0, 0, -1], np.float32)
        self.half = half / np.linalg.norm(half)
        self.open_sky = 1 - SKY_SHARE + SKY_SHARE * combine(sky_weights(), figure.visibility_LN)
        self.key = (EXPOSURE * scene.exposure * np.array(scene.key, np.float32))[:, None]
        self.ambient = (EXPOSURE * scene.exposure * np.array(scene.ambient, np.float32))[:, None]

    def landmarks(self, pose: Pose) -> np.ndarray:
        """The 68 iBUG points in pixels [68,2], without drawing."""
        vertices_3N, _ = pose_vertices(self.figure, pose)
        return self.camera.project(self.camera.view(vertices_3N[:, self.figure.landmark_68]))

    def render(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Picture uint8 [size,size,3] RGB and the 68 iBUG points in pixels [68,2]."""
        return self.draw(pose_figure(self.figure, self.scene, pose))

    def draw(self, posed: PosedFigure) -> tuple[np.ndarray, np.ndarray]:
        """As `render`, of this figure in this scene posed before: several cameras draw it without posing it again."""
        seen = self.camera.view(posed.vertices_3N)
        light, shine = self._shade(seen, posed)
        texture = np.empty((seen.shape[1], 3), np.float32)
        texture[:, :2] = posed.texture_N2
        texture[:, 2] = shine
        points = np.stack([seen[0], -seen[1], -seen[2]], 1)
        faces = self._facing(seen)
        covered = self._rasterise(points, faces, texture, self.side)
        lit = self._rasterise(points, faces, light, self.camera.size)
        picture = self._compose(covered, lit, posed.seconds)
        return picture, self.camera.project(seen[:, self.figure.landmark_68])

    def _shade(self, seen: np.ndarray, posed: PosedFigure) -> tuple[np.ndarray, np.ndarray]:
        """Light [N,3] scaled to 0..1 and specular reflection [N] of every vertex."""
        figure, scene = self.figure, self.scene
        normal = normals(seen, figure.neighbours_4N)
        facing = combine(self.light, normal)
        bleed = BLEED * figure.scatter_N + SOFTNESS
        direct = np.maximum((facing + bleed) / (1 + bleed), 0) * posed.lit_N
        around = self.open_sky * (scene.bounce + (1 - scene.bounce) * (0.5 - 0.5 * normal[1]))
        light = self.key * direct + self.ambient * around
        light[:, figure.moving_M] *= 1 - FOLD_DEPTH * np.minimum(posed.folds_M, 1)
        # Colours are stored with a display's gamma of about 2, so light is brought to the same scale before they meet.
        light = np.sqrt(light) * LIGHT_GAIN
        shine = figure.specular_N * posed.lit_N * np.maximum(combine(self.half, normal), 0) ** figure.gloss_N
        return np.ascontiguousarray(light.T), np.minimum(shine, 1)

    def _facing(self, seen: np.ndarray) -> np.ndarray:
        """Faces turned to the camera. The rasteriser would find them itself, but only after most of its work."""
        x, y = seen[:2] / seen[2]
        (ax, bx, cx), (ay, by, cy) = ([axis.take(corner) for corner in self.corners] for axis in (x, y))
        return self.figure.faces_F3[(bx - ax) * (cy - ay) > (by - ay) * (cx - ax)]

    def _rasterise(self, points_N3: np.ndarray, faces_F3: np.ndarray, values_N3: np.ndarray, side: int) -> np.ndarray:
        """Values interpolated over the nearest surface, float32 [side,side,3]; 0 where there is none."""
        colour = np.zeros((side, side, 3), np.float32)
        depth = np.full((side, side), FAR, np.float32)
        cv2.triangleRasterize(
            points_N3, faces_F3, values_N3, colour, depth, np.eye(4, dtype=np.float32),
            self.camera.field_of_view, 1.0, FAR, self.settings,
        )  # fmt: skip
        return colour

    def _compose(self, covered: np.ndarray, light: np.ndarray, seconds: float) -> np.ndarray:
        size = self.camera.size
        u, v, shine = cv2.split(covered)
        height, width = self.figure.atlas.shape[:2]
        texel = cv2.remap(self.figure.atlas, u * width - 0.5, v * height - 0.5, cv2.INTER_LINEAR)
        # Light is smooth, so it is drawn at the size of the picture; its rim is widened before it is enlarged, or
        # outlines would darken.
        light = np.where(light == 0, cv2.dilate(light, np.ones((3, 3), np.uint8)), light)
        light = cv2.resize(light, covered.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        body = cv2.multiply(texel, light, scale=1 / LIGHT_GAIN, dtype=cv2.CV_8U)
        body = cv2.resize(body, (size, size), interpolation=cv2.INTER_LINEAR)
        shine = cv2.resize(shine, (size, size), interpolation=cv2.INTER_LINEAR)
        outside = cv2.resize((u == 0).astype(np.uint8) * 255, (size, size), interpolation=cv2.INTER_LINEAR)
        behind = background_frame(self.background, self.scene, seconds, size)
        picture = cv2.multiply(behind, cv2.merge([outside] * 3), scale=1 / 255)
        picture = cv2.add(picture, body)
        glint = cv2.convertScaleAbs(shine, alpha=GLINT * self.scene.key[1])
        return cv2.add(picture, cv2.merge([glint] * 3))
