"""The camera: where it stands, where it looks, and what lands on which pixel.

World: y up, the ground at y = 0, metres. View axes: right, down, forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.render.pose3d import Vec, unit


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        width: pixels.
        height: pixels.
        focal: focal length in pixels.
        position: [3] in the world.
        view: [3, 3], rows right, down, forward in world axes.
    """

    width: int
    height: int
    focal: float
    position: Vec
    view: Vec

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """World points [N, 3] to pixel x, y and depth, float32 [N, 3]; pixel centres are whole.

        Points behind the camera get a depth <= 0 and meaningless pixels.
        """
        seen = (points - self.position) @ self.view.T
        depth = np.where(abs(seen[:, 2]) < 1e-6, 1e-6, seen[:, 2])
        x = self.focal * seen[:, 0] / depth + (self.width - 1) / 2
        y = self.focal * seen[:, 1] / depth + (self.height - 1) / 2
        return np.stack([x, y, seen[:, 2]], axis=1).astype(np.float32)

    def scaled(self, by: float) -> Camera:
        """The same view with more or fewer pixels."""
        w, h = round(self.width * by), round(self.height * by)
        return Camera(w, h, self.focal * by, self.position, self.view)


def look_at(position: Vec, target: Vec, roll: float) -> Vec:
    """View axes [3, 3] of a camera that looks at ``target``, rolled by radians."""
    ahead = unit(target - position)
    right = unit(np.cross(ahead, np.array([0.0, 1.0, 0.0])))
    down = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, ahead])
