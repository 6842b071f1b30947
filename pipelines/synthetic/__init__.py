"""A procedural talking face: ground truth for everything that otherwise needs a licence or a network.

An identity and a performance meet in a renderer under a camera: `identity` (who), `performance` (what the face does
over time), `camera` and `scene` (where from, in which light), `renderer` (pixels and landmarks), `corpus` (files).
Axes: x to the right of the image, y down, z away from the viewer. Unit of length: D, the distance of the outer eye
corners (about 90 mm). The origin is the nasion (iBUG point 27).
"""
