"""The heatmap of one joint of one person, computed when somebody asks to see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.inputs import normalize
from kptk.pose import crop_boxes, warp_crops
from kptk.widgets.album import Float
from kptk.widgets.overlay import Heat

if TYPE_CHECKING:
    from kptk.pose import PoseModel
    from kptk.widgets.picture import State


def heatmap_of(
    pose: PoseModel, image: NDArray[np.uint8], box: Float, joint: int, name: str
) -> Heat:
    """Run the pose model on one crop and keep one joint's heatmap.

    Args:
        pose: the model.
        image: RGB uint8 (H, W, 3).
        box: (4,) x1, y1, x2, y2 in pixels.
        joint: its place in the skeleton.
        name: of the joint.

    Raises:
        InputError: the model has no such joint.
    """
    model = pose.model
    centers, sizes = crop_boxes(box[None].astype(np.float32), model.input_size)
    crops = warp_crops(
        [image], np.zeros(1, np.intp), centers, sizes, model.input_size, udp=pose.udp
    )
    maps = pose.heatmaps(normalize(crops, model.mean, model.std, model.is_scale))[0]
    if joint >= len(maps):
        raise InputError(f"The model has {len(maps)} joints. Joint {joint} is not among them.")
    values = maps[joint]
    # kptk.pose.to_image: x = (cell - cells / 2) * scale + centre, one scale for both directions
    cell = float(sizes[0, 0] / values.shape[1])
    corner = centers[0] - np.array(values.shape[::-1]) / 2 * cell
    return Heat(values, (float(corner[0]), float(corner[1])), cell, name)


def subject(state: State) -> int | None:
    """Place of the pose that a heatmap is made for: the page's person, else the surest."""
    chosen = state.chosen
    return int(chosen[state.poses.scores[chosen].argmax()]) if len(chosen) else None
