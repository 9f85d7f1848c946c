"""Train PP-TinyPose 128x96 on photographs and rendered people.

``python -m tools.train_pair.pose``; README.md has whole commands. With ``--teacher`` (the packed
graph of another PP-TinyPose 128x96) its heatmaps are a second target for every crop of a
photograph. No weight is taken from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.train_pair import names
from tools.train_pair.data import ImageSet, read_sets
from tools.train_pair.pose_data import HEIGHT, WIDTH, Crops, Drawer, region
from tools.train_pair.tinypose import STRIDE, TinyPose
from tools.train_pair.train import Trainer, first_net, options, parse, run_net, strength

DEMO = "kptk/demo/models/demo-kpt/inference.onnx"


def read_teacher(path: Path, device: str, threads: int) -> Callable[[Tensor], Tensor]:
    """A function from crops (N, 3, HEIGHT, WIDTH), 0 to 255, to a teacher's heatmaps."""
    if device != "cpu":
        net = TinyPose()
        names.load(net, names.read(path))
        net.to(device, memory_format=torch.channels_last).eval()
        return lambda images: run_net(net, images).float()
    import onnxruntime

    config = onnxruntime.SessionOptions()
    config.intra_op_num_threads = threads
    config.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), config, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(x: Tensor) -> Tensor:
        # A few at a time: they stay in the cache.
        parts = [
            session.run([target], {source: part.contiguous().numpy()})[0] for part in x.split(8)
        ]
        return torch.from_numpy(np.concatenate(parts))

    return lambda images: run_net(run, images)


def decode(maps: Tensor) -> Tensor:
    """Peaks (N, K, 3) in cells as kptk finds them (DARK), and their heights."""
    n, k, h, w = maps.shape
    flat = maps.reshape(n * k, 1, h, w)
    height, index = flat.flatten(1).max(1)
    x, y = index % w, index // w
    line = torch.tensor((0.25, 0.5, 0.25))
    log = F.conv2d(flat, (line[:, None] * line)[None, None], padding=1).clamp(min=1e-10).log()
    log = F.pad(log, (2, 2, 2, 2))[:, 0]
    row = torch.arange(n * k)

    def at(dx: int, dy: int) -> Tensor:
        return log[row, y + 2 + dy, x + 2 + dx]

    middle = at(0, 0)
    gx, gy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    xx, yy = (at(2, 0) - 2 * middle + at(-2, 0)) / 4, (at(0, 2) - 2 * middle + at(0, -2)) / 4
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    det = xx * yy - xy**2
    step = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], 1) / det[:, None]
    inner = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2) & (det != 0)
    points = torch.stack([x, y], 1) + torch.where(inner[:, None], step, torch.zeros_like(step))
    return torch.cat([points, height[:, None]], 1).reshape(n, k, 3)


@torch.no_grad()
def measure(net: nn.Module, image_set: ImageSet, device: str) -> dict[str, float]:
    """COCO's average precision of keypoints on the true boxes, in percent."""
    rows = []
    for some in torch.arange(len(image_set.owner)).split(64):
        crops, places = [], []
        for k in some.tolist():
            center, span = region(image_set.person_box[k])
            scale = WIDTH / span
            shift = np.array([WIDTH, HEIGHT]) / 2 - scale * center
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            image = image_set.pixels[image_set.owner[k]]
            crops.append(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR))
            places.append((scale, shift))
        x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().to(device)
        peaks = decode(run_net(net, x, bf16=False).float().cpu()).numpy().astype(float)
        for k, points, (scale, shift) in zip(some.tolist(), peaks, places, strict=True):
            points[:, :2] = (points[:, :2] * STRIDE - shift) / scale
            rows.append(
                {
                    "image_id": image_set.owner[k] + 1,
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "score": float(points[:, 2].mean()),
                }
            )
    return image_set.score(rows, "keypoints")


def main() -> None:
    """Command line."""
    parser = options("kpt", batch=64, rate=2e-3, ema=0.998)
    parser.add_argument("--teacher", type=Path, help="ONNX file")
    parser.add_argument("--trust", type=float, default=0.5, help="share of the teacher in the loss")
    args = parse(parser)
    train, photos, day = read_sets(args)
    drawer = Drawer(train)
    teacher = read_teacher(args.teacher, args.device, args.threads) if args.teacher else None

    def draw(rng: np.random.Generator, share: float) -> Crops:
        return drawer.batch(rng, args.batch, strength(args, share))

    def loss(net: nn.Module, crops: Crops) -> Tensor:
        out = run_net(net, crops.images).float()
        error = (out - crops.maps) ** 2 * crops.labelled[..., None, None]
        if teacher is not None:
            share = args.trust * crops.taught.reshape(-1, 1, 1, 1)
            error = error * (1 - share) + (out - teacher(crops.clean)) ** 2 * share
        return 1000 * error.mean()  # gradients far above AdamW's epsilon

    def scores(net: nn.Module) -> dict[str, float]:
        a, b = measure(net, photos, args.device), measure(net, day, args.device)
        return {"score": a["ap"], "ap50": a["ap50"], "day": b["ap"], "day50": b["ap50"]}

    Trainer(first_net(TinyPose(), DEMO, args), draw, loss, scores, args, decay=0.01).run()


if __name__ == "__main__":
    main()
