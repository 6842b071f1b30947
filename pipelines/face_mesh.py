"""MediaPipe's face mesh with attention, on the models that lie in its wheel.

Source: Kartynnik et al. 2019 (arXiv 1907.06724) for the mesh, Grishchenko et al. 2020 (arXiv 2006.10962) for attention,
which the lids and lips of the action units need.
Deliberate differences from MediaPipe's own FaceMesh class: one thread; a detection must be surer; a face is never
followed across a change of scene; and the graph is configured in binary, which works with every protobuf (the class
fails with 5.x, early 6.x and 7.x).
"""

from __future__ import annotations

import os
import tempfile
import threading
from importlib import metadata
from types import TracebackType

import numpy as np

from pipelines.landmarks import MESH_POINTS
from pipelines.shots import MIN_CHANGE, thumbnail

MEDIAPIPE_VERSION = "0.10.21"
"""The last that carries its models. Later ones load models of this one without an error and find nonsense."""
MESH_VERSION = f"mediapipe-{MEDIAPIPE_VERSION}"
_GRAPH_FILE = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"
_FRAME_MICROSECONDS = 33_333
_MIN_DETECTION_SCORE = 0.75
"""Up to 0.7 clouds and letters are taken for faces; at 0.8 a hand on the face hides it, at 0.9 a turn by 45 degrees."""


_POINT = np.dtype([("tags", "V3"), ("x", "<f4"), ("tag_y", "u1"), ("y", "<f4"), ("tag_z", "u1"), ("z", "<f4")])
"""A point of a serialised NormalizedLandmarkList."""
_TAGS = np.void(b"\x0a\x0f\x0d")
"""Field 1 of 15 bytes, in it field 1 of four bytes."""


class FaceMeshUnavailable(RuntimeError):
    """MediaPipe is not installed, or not in the version that works."""


def require_mediapipe() -> None:
    """Says at once whether faces can be found here, without importing MediaPipe.

    Raises FaceMeshUnavailable with what to do.
    """
    try:
        found = metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != MEDIAPIPE_VERSION:
        raise FaceMeshUnavailable(
            f"landmarks come from mediapipe {MEDIAPIPE_VERSION}, installed is {found}; run "
            "`pip install --no-deps --require-hashes -r infra/requirements-faces.txt`. It has wheels for Python 3.11 "
            "and 3.12 on Linux x86-64, macOS and Windows; elsewhere bring landmarks as OpenFace 2 CSVs"
        )


class FaceMesh:
    """Finds up to `num_faces` faces in a frame. Use as a context manager.

    All meshes of a process share one graph, since each graph leaks some 20 MB when it goes. It is made when the first
    mesh is, and it does not survive a fork: make meshes in the process that uses them.

    Args:
        num_faces: the most that are found in a frame.
        follow: look for one face where it was in the frame before, and search the frame only where it is not there. The
            frames are those of a video in turn; `forget` comes between two videos. Takes 0.6 of the time, keeps hold of
            a face behind a hand, and leaves other faces alone until this one is lost.

    Raises:
        FaceMeshUnavailable: mediapipe is not installed.
        RuntimeError: the graph was made before this process was forked, or another mesh is open.
    """

    def __init__(self, num_faces: int = 1, *, follow: bool = False) -> None:
        if num_faces < 1:
            raise ValueError(f"num_faces={num_faces} must be at least 1")
        if follow and num_faces > 1:
            raise ValueError(f"follow=True with num_faces={num_faces}: one face is followed; say num_faces=1")
        require_mediapipe()
        self.num_faces = num_faces
        self.follow = follow
        self._scene: np.ndarray | None = None
        self._graph: _Graph | None = _Graph.of_process()
        self._graph.start(num_faces, follow)

    def detect(self, frame_HWC: np.ndarray) -> np.ndarray:
        """The meshes of all faces found in a frame, float32 [faces, 478, 3]; [0, 478, 3] where there is none.

        Args:
            frame_HWC: uint8 RGB.

        Returns:
            x and y in pixels of the frame, z (away from the camera) on the scale of x, 0 at the middle of the head.
            The surest face comes first.
        """
        if self._graph is None:
            raise RuntimeError("this FaceMesh is closed; make another")
        if frame_HWC.dtype != np.uint8 or frame_HWC.ndim != 3 or frame_HWC.shape[2] != 3:
            raise ValueError(f"a frame of {frame_HWC.dtype} {frame_HWC.shape}, not uint8 [H, W, 3]")
        if self.follow:
            scene = thumbnail(frame_HWC)
            if self._scene is not None and np.abs(scene - self._scene).mean() > MIN_CHANGE:
                self.forget()
            self._scene = scene
        height, width = frame_HWC.shape[:2]
        found = [_points(face) for face in self._graph.process(np.ascontiguousarray(frame_HWC))]
        if not found:
            return np.zeros((0, MESH_POINTS, 3), np.float32)
        return np.stack(found) * np.array((width, height, width), np.float32)

    def forget(self) -> None:
        """Makes the next frame the first of a video."""
        if self._scene is not None:
            self._scene = None
            self._graph.stop()
            self._graph.start(self.num_faces, self.follow)

    def close(self) -> None:
        if self._graph is not None:
            self._graph.stop()
            self._graph = None

    def __enter__(self) -> FaceMesh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Graph:
    """The one graph of a process; it is started and stopped, and kept."""

    _made: _Graph | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        from mediapipe.python._framework_bindings.calculator_graph import CalculatorGraph

        self._process = os.getpid()
        self._packets: list = []
        self._time = 0
        self._running = False
        # A graph takes a binary config from a file alone; as text it fails with many versions of protobuf.
        with tempfile.NamedTemporaryFile(suffix=".binarypb") as file:
            file.write(_graph_config())
            file.flush()
            self._graph = CalculatorGraph(binary_graph_path=file.name)
        self._graph.observe_output_stream("multi_face_landmarks", lambda _, packet: self._packets.append(packet), True)

    @classmethod
    def of_process(cls) -> _Graph:
        with cls._making:
            if cls._made is None:
                cls._made = cls()
            return cls._made

    def start(self, num_faces: int, follow: bool) -> None:
        from mediapipe.python import packet_creator

        self._check_process()
        if self._running:
            raise RuntimeError("another FaceMesh of this process is open; close it first")
        self._time = 0
        self._graph.start_run(
            {
                "num_faces": packet_creator.create_int(num_faces),
                "with_attention": packet_creator.create_bool(True),
                "use_prev_landmarks": packet_creator.create_bool(follow),
            }
        )
        self._running = True

    def process(self, frame_HWC: np.ndarray) -> list[bytes]:
        """Each face of a frame as a serialised NormalizedLandmarkList."""
        from mediapipe.python import packet_creator
        from mediapipe.python._framework_bindings import _packet_getter
        from mediapipe.python._framework_bindings.image_frame import ImageFormat, ImageFrame

        self._check_process()
        self._packets.clear()
        self._time += _FRAME_MICROSECONDS
        image = packet_creator.create_image_frame(ImageFrame(image_format=ImageFormat.SRGB, data=frame_HWC))
        self._graph.add_packet_to_input_stream("image", image.at(self._time))
        self._graph.wait_until_idle()
        if not self._packets or self._packets[-1].is_empty():
            return []
        return _packet_getter._get_serialized_proto_list(self._packets[-1])

    def stop(self) -> None:
        self._check_process()
        self._running = False
        self._graph.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                "a face mesh was made before this process was forked, and would hang here; make it in the worker, or "
                "start workers with spawn"
            )


def _graph_config() -> bytes:
    """MediaPipe's graph, with one thread and our certainty."""
    import mediapipe
    from mediapipe.calculators.tensor import inference_calculator_pb2, tensors_to_detections_calculator_pb2
    from mediapipe.framework import calculator_pb2
    from mediapipe.python._framework_bindings import resource_util
    from mediapipe.python._framework_bindings.validated_graph_config import ValidatedGraphConfig

    root = os.path.dirname(os.path.dirname(mediapipe.__file__))
    resource_util.set_resource_dir(root)
    stock = ValidatedGraphConfig()
    stock.initialize(binary_graph_path=os.path.join(root, _GRAPH_FILE))
    config = calculator_pb2.CalculatorGraphConfig.FromString(stock.binary_config)
    del config.executor[:]
    config.num_threads = 1
    inference = inference_calculator_pb2.InferenceCalculatorOptions
    detections = tensors_to_detections_calculator_pb2.TensorsToDetectionsCalculatorOptions
    for node in config.node:
        for packed in node.node_options:
            if packed.Is(inference.DESCRIPTOR):
                options = inference.FromString(packed.value)
                options.delegate.xnnpack.num_threads = 1
                packed.Pack(options)
            elif packed.Is(detections.DESCRIPTOR):
                options = detections.FromString(packed.value)
                options.min_score_thresh = _MIN_DETECTION_SCORE
                packed.Pack(options)
        if node.options.HasExtension(inference.ext):
            node.options.Extensions[inference.ext].delegate.xnnpack.num_threads = 1
    return config.SerializeToString()


def _points(serialized: bytes) -> np.ndarray:
    """float32 [478, 3], normalised to the frame, of a NormalizedLandmarkList. Its objects would take a tenth of the
    time of the mesh to read; as the version is fixed, so is what it writes: x, y and z of every point, and no more."""
    points = np.frombuffer(serialized, _POINT)
    if len(points) != MESH_POINTS or (points["tags"] != _TAGS).any():
        raise RuntimeError(f"a mesh of {len(serialized)} bytes is not one of mediapipe {MEDIAPIPE_VERSION}")
    return np.stack([points["x"], points["y"], points["z"]], 1)
