"""The pose model before and after the engine: crop, normalise, run, decode.

Equal to PaddleX's PP-TinyPose module, but vectorised over all people of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.engines.parallel import spread
from kptk.errors import InputError, ModelError
from kptk.inputs import check_batch_size, check_boxes, check_image, normalize
from kptk.skeleton import COCO17

if TYPE_CHECKING:
    from kptk.engines.base import Engine
    from kptk.models.modeldir import ModelDir


Float = NDArray[np.float64]

PADDING = 1.25

# OpenCV refuses to sample images with a side of 2**15 or more.
MAX_WARP_SIDE = 32000


def crop_boxes(
    boxes: NDArray[np.float32], input_size: tuple[int, int], padding: float = PADDING
) -> tuple[Float, Float]:
    """Turn boxes into the regions the model looks at.

    The centre stays; the shorter side grows until the aspect is the input's; both sides are then
    multiplied by ``padding`` (PaddleX's ``_box_xyxy2cs``).

    Args:
        boxes: (N, 4) pixels, (x1, y1, x2, y2).
        input_size: (height, width) of the model's input.
        padding: how much larger than the box the region is.

    Returns:
        Centres (N, 2) as (x, y) and sizes (N, 2) as (width, height), float64 pixels.
    """
    corners = boxes.astype(np.float64)
    centers = (corners[:, :2] + corners[:, 2:]) / 2
    width, height = (corners[:, 2:] - corners[:, :2]).T
    aspect = input_size[1] / input_size[0]
    sizes = np.stack([np.maximum(width, height * aspect), np.maximum(height, width / aspect)], 1)
    return centers, sizes * padding


def warp_crops(
    images: Sequence[NDArray[np.uint8]],
    owners: NDArray[np.intp],
    centers: Float,
    sizes: Float,
    input_size: tuple[int, int],
    *,
    udp: bool = False,
) -> NDArray[np.uint8]:
    """Cut every region out of its image, scaled to the model's input.

    Bilinear, black outside the image. Without ``udp`` the region's centre lands on pixel
    (W / 2, H / 2) and its width spans W; with it on ((W - 1) / 2, (H - 1) / 2) and W - 1
    (ppdet's ``get_affine_transform`` and ``get_warp_matrix``).

    The same crops, to the bit, as by ``cv2.warpAffine`` of OpenCV 4.10, which PaddleX pins: it
    reads pixels at positions rounded to 1/32. OpenCV 5 no longer rounds them. On photographs that
    moves keypoints by .07 px in the median, and one on a flat peak by 3.8 px. ``cv2.remap`` with
    fixed-point maps still rounds, so the positions are worked out here.

    Args:
        images: RGB uint8 arrays (H, W, 3).
        owners: (N,) index into ``images`` of each region.
        centers: (N, 2) pixels, (x, y).
        sizes: (N, 2) pixels, (width, height).
        input_size: (height, width) of the crops.
        udp: unbiased data processing (Huang et al., CVPR 2020).

    Returns:
        (N, height, width, 3) uint8.
    """
    import cv2

    height, width = input_size
    span = np.array([width - 1, height - 1] if udp else [width, height], np.float64)
    steps = sizes / span if udp else np.repeat(sizes[:, :1] / span[:1], 2, axis=1)
    starts = centers - steps * span / 2
    # as OpenCV does: in 1/1024 pixel (x in two terms that are rounded each), then in 1/32
    xs = np.rint(1024 * np.arange(width) * steps[:, :1]) + np.rint(1024 * starts[:, :1]) + 16
    ys = np.rint(1024 * (np.arange(height) * steps[:, 1:] + starts[:, 1:])) + 16
    (left, x32), (top, y32) = (np.divmod(at.astype(np.int64) >> 5, 32) for at in (xs, ys))
    whole = np.empty((height, width, 2), np.int16)
    crops = np.empty((len(owners), height, width, 3), np.uint8)
    for i, owner in enumerate(owners):
        image, x, y = images[owner], left[i], top[i]
        if max(image.shape) > MAX_WARP_SIDE:  # only the part that the crop can see
            first_x, first_y = (
                int(np.clip(at[0], 0, n - 1)) for at, n in ((x, image.shape[1]), (y, len(image)))
            )
            image = image[first_y:, first_x:][:MAX_WARP_SIDE, :MAX_WARP_SIDE]
            x, y = x - first_x, y - first_y
        whole[..., 0] = x.clip(-MAX_WARP_SIDE, MAX_WARP_SIDE)
        whole[..., 1] = y.clip(-MAX_WARP_SIDE, MAX_WARP_SIDE)[:, None]
        fraction = (32 * y32[i][:, None] + x32[i]).astype(np.uint16)
        cv2.remap(image, whole, fraction, cv2.INTER_LINEAR, dst=crops[i])
    return crops


def decode_heatmaps(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find each keypoint's peak with sub-pixel accuracy.

    DARK (Zhang et al., Distribution-Aware Coordinate Representation, CVPR 2020) as ppdet's
    ``HRNetPostProcess`` does it: blur with a Gaussian kernel of 3, logarithm, one Newton step
    from the highest cell. Peaks within two cells of the border stay where they are.

    Args:
        heatmaps: (N, K, h, w) float32.

    Returns:
        (N, K, 3) float32: x, y in cells (cell centres at whole numbers) and the raw peak value.
    """
    n, k, height, width = heatmaps.shape
    flat = heatmaps.reshape(n * k, height * width)
    index = flat.argmax(axis=1) if flat.size else np.zeros(n * k, np.intp)
    y, x = np.divmod(index, width)
    points = np.stack([x, y, flat[np.arange(n * k), index]], axis=1, dtype=np.float64)
    rows = np.flatnonzero((x > 1) & (x < width - 2) & (y > 1) & (y < height - 2))

    # the 7x7 cells around each peak, zero outside the map: (M, 7, 7)
    reach = np.arange(-3, 4)
    ys, xs = y[rows, None] + reach, x[rows, None] + reach
    inside = ((ys >= 0) & (ys < height))[:, :, None] & ((xs >= 0) & (xs < width))[:, None, :]
    near_y, near_x = ys.clip(0, height - 1)[:, :, None], xs.clip(0, width - 1)[:, None, :]
    cells = heatmaps.reshape(n * k, height, width)[
        rows[:, None, None], near_y, near_x
    ] * inside.astype(np.float64)

    # a Newton step of the logarithm of what the blur makes of them: (M, 5, 5)
    blurred = (cells[:, :-2] + 2 * cells[:, 1:-1] + cells[:, 2:]) / 4
    blurred = (blurred[:, :, :-2] + 2 * blurred[:, :, 1:-1] + blurred[:, :, 2:]) / 4
    log = np.log(np.maximum(blurred, 1e-10))
    dx = (log[:, 2, 3] - log[:, 2, 1]) / 2
    dy = (log[:, 3, 2] - log[:, 1, 2]) / 2
    dxx = (log[:, 2, 4] - 2 * log[:, 2, 2] + log[:, 2, 0]) / 4
    dyy = (log[:, 4, 2] - 2 * log[:, 2, 2] + log[:, 0, 2]) / 4
    dxy = (log[:, 3, 3] - log[:, 1, 3] - log[:, 3, 1] + log[:, 1, 1]) / 4
    det = dxx * dyy - dxy**2
    solvable = det != 0  # flat maps have no step
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1)[solvable]
    points[rows[solvable], :2] += step / det[solvable, None]
    return points.reshape(n, k, 3).astype(np.float32)


def flip_back(heatmaps: NDArray[np.float32], flip_order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Bring the heatmaps of mirrored crops back: mirror, swap left and right, shift one cell.

    The shift is ppdet's ``shift_heatmap``, which TinyPose is evaluated with; the first column
    stays as it is.

    Args:
        heatmaps: (N, K, h, w) of the mirrored crops.
        flip_order: (K,) keypoint order with left and right swapped.

    Returns:
        (N, K, h, w), to be averaged with the heatmaps of the crops themselves.
    """
    mirrored = heatmaps[:, flip_order, :, ::-1]
    return np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=-1)


def to_image(
    points: NDArray[np.float32], centers: Float, sizes: Float, heatmap_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Map decoded points from heatmap cells to image pixels (ppdet's ``transform_preds``).

    Args:
        points: (N, K, 3) from :func:`decode_heatmaps`.
        centers: (N, 2) pixels, (x, y).
        sizes: (N, 2) pixels, (width, height).
        heatmap_size: (height, width) in cells.

    Returns:
        (N, K, 3) float32: x, y in pixels of the image, and the score.
    """
    cells = np.array([heatmap_size[1], heatmap_size[0]], np.float64)
    scale = (sizes[:, :1] / cells[0])[:, None]
    xy = (points[..., :2] - cells / 2) * scale + centers[:, None]
    return np.concatenate([xy.astype(np.float32), points[..., 2:]], axis=-1)


class PoseModel:
    """Places keypoints on people whose boxes are known.

    Args:
        model: the model directory, of kind ``"keypoint"``.
        engine: what runs it.
        flip: average with the mirrored crop. Slower by a factor of two; ppdet's published AP
            uses it, PaddleX's pipeline does not.
        udp: crop as ppdet does with ``use_udp``. TinyPose is trained and published with it;
            PaddleX's pipeline does not use it. As in ppdet, only the crop changes, not the way
            back.

    Raises:
        ModelError: the model is of another kind.
    """

    def __init__(
        self, model: ModelDir, engine: Engine, *, flip: bool = False, udp: bool = False
    ) -> None:
        if model.kind != "keypoint":
            raise ModelError(
                f"A keypoint model is needed here. {model.name!r} at {model.path} is a "
                f"{model.kind} model."
            )
        self.model = model
        self.engine = engine
        self.flip = flip
        self.udp = udp

    def __repr__(self) -> str:
        return (
            f"PoseModel({self.model.name!r}, engine={self.engine.name!r}, "
            f"device={self.engine.device!r}, flip={self.flip}, udp={self.udp})"
        )

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: Sequence[NDArray[np.float32]],
        *,
        batch_size: int = 16,
    ) -> list[NDArray[np.float32]]:
        """Place keypoints on every boxed person of every image.

        Args:
            images: RGB uint8 arrays (H, W, 3).
            boxes: for each image (N, 4) pixels, (x1, y1, x2, y2); N may be 0.
            batch_size: crops to a call of the engine, over all images together.

        Returns:
            For each image (N, K, 3) float32: x, y in pixels, and the score (heatmap peak).

        Raises:
            InputError: a wrong image or box, or not one array of boxes for each image.
        """
        size = check_batch_size(batch_size)
        if len(images) != len(boxes):
            raise InputError(
                f"There must be one array of boxes for each image. Got {len(images)} images, "
                f"{len(boxes)} arrays of boxes."
            )
        checked = [check_image(image, f"images[{i}]") for i, image in enumerate(images)]
        people = [check_boxes(box, f"boxes[{i}]") for i, box in enumerate(boxes)]
        counts = [len(box) for box in people]
        if not sum(counts):
            return [np.zeros((0, len(COCO17), 3), np.float32) for _ in counts]
        owners = np.repeat(np.arange(len(counts)), counts)
        centers, sizes = crop_boxes(np.concatenate(people), self.model.input_size)
        chunks = [slice(i, i + size) for i in range(0, len(owners), size)]
        points = spread(
            self.engine, lambda c: self._run(checked, owners[c], centers[c], sizes[c]), chunks
        )
        return np.split(np.concatenate(points), np.cumsum(counts)[:-1])

    def _run(
        self,
        images: Sequence[NDArray[np.uint8]],
        owners: NDArray[np.intp],
        centers: Float,
        sizes: Float,
    ) -> NDArray[np.float32]:
        """Keypoints (n, K, 3) of one chunk of crops."""
        model = self.model
        crops = warp_crops(images, owners, centers, sizes, model.input_size, udp=self.udp)
        heatmaps = self.heatmaps(normalize(crops, model.mean, model.std, model.is_scale))
        return to_image(decode_heatmaps(heatmaps), centers, sizes, heatmaps.shape[2:])

    def heatmaps(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a normalised batch.

        Args:
            batch: (N, 3, H, W) float32.

        Returns:
            (N, K, h, w) float32, averaged with the mirrored batch's if ``flip``.
        """
        heatmaps = self._forward(batch)
        if not self.flip:
            return heatmaps
        mirrored = self._forward(np.ascontiguousarray(batch[..., ::-1]))
        heatmaps += flip_back(mirrored, COCO17.flip_order)
        heatmaps *= np.float32(0.5)
        return heatmaps

    def _forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self.engine.run({self.engine.input_names[0]: batch})
        for output in outputs:
            if output.ndim == 4 and output.shape[0] == len(batch):
                return np.asarray(output, np.float32)
        raise ModelError(
            f"{self.model.name!r} must give heatmaps of shape ({len(batch)}, K, h, w). "
            f"Got outputs of shape {[output.shape for output in outputs]}."
        )
