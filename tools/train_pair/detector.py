"""Train PP-YOLOE-S at 320 on photographs and rendered people.

``python -m tools.train_pair.detector``; README.md has whole commands.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tools.train_pair.data import ImageSet, read_sets
from tools.train_pair.detect_data import Drawer
from tools.train_pair.detect_loss import Batch, losses, overlaps
from tools.train_pair.ppyoloe import PPYoloe
from tools.train_pair.train import Trainer, first_net, options, parse, run_net, strength

SIZE = 320
# Sizes of training, one a step: small ones first, since they are cheaper, then those of use.
EARLY, LATE = (224, 256, 288, 288, 320), (288, 320, 320, 320, 352)
TURN = 0.6  # share of the time
DEMO = "kptk/demo/models/demo-det/inference.onnx"


def suppress(boxes: Tensor, scores: Tensor, overlap: float = 0.7) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression of one image, highest scores first; 100 boxes at most."""
    order = scores.argsort(descending=True)
    order = order[scores[order] > 0.02][:300]
    boxes, scores = boxes[order], scores[order]
    close = (overlaps(boxes[:, None], boxes[None])[0] > overlap).triu(1)
    keep = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if keep[i]:
            keep &= ~close[i]
    return boxes[keep][:100], scores[keep][:100]


@torch.no_grad()
def measure(net: nn.Module, image_set: ImageSet, device: str) -> dict[str, float]:
    """COCO's average precision of boxes, in percent."""
    rows = []
    for first in range(0, len(image_set.pixels), 16):
        chosen = range(first, min(first + 16, len(image_set.pixels)))
        images = [
            cv2.resize(image_set.pixels[k], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
            for k in chosen
        ]
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().to(device)
        found = run_net(net, x)
        every_box, every_score = found.boxes().cpu(), found.logits.sigmoid().cpu()
        for k, boxes, scores in zip(chosen, every_box, every_score, strict=True):
            height, width = image_set.pixels[k].shape[:2]
            boxes, scores = suppress(boxes, scores)
            boxes = boxes / SIZE * torch.tensor([width, height, width, height])
            boxes[:, 2:] -= boxes[:, :2]
            rows += [
                {"image_id": k + 1, "category_id": 1, "bbox": box, "score": score}
                for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
            ]
    return image_set.score(rows, "bbox")


def main() -> None:
    """Command line."""
    args = parse(options("det", batch=16, rate=1e-3, ema=0.9985))
    train, photos, day = read_sets(args)
    drawer = Drawer(train)

    def draw(rng: np.random.Generator, share: float) -> Batch:
        side = int(rng.choice(EARLY if share < TURN else LATE))
        return drawer.batch(rng, args.batch, side, strength(args, share))

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        return losses(run_net(net, batch.images), batch)

    def scores(net: nn.Module) -> dict[str, float]:
        a, b = measure(net, photos, args.device), measure(net, day, args.device)
        return {"score": a["ap"], "ap50": a["ap50"], "day": b["ap"], "day50": b["ap50"]}

    Trainer(first_net(PPYoloe(), DEMO, args), draw, loss, scores, args, decay=0.02).run()


if __name__ == "__main__":
    main()
