"""Tables of an error analysis as they might come out, for tests of the figures; always the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kptk.analysis.labels import DETECTION_TYPES
from kptk.analysis.plots import JOINT_COLOURS, PERSON_COLOURS
from kptk.skeleton import COCO17, Skeleton

SHARES = {
    "ok": 0.58, "wrong-person": 0.02, "box-sensitive": 0.03, "pose": 0.12, "box-limited": 0.02,
    "badly-localised": 0.04, "below-threshold": 0.09, "nms-suppressed": 0.015, "over-cap": 0.005,
    "never-detected": 0.08,
}  # fmt: skip
DETAILS = {"pose": ["miss", "inversion", "jitter", "swap"], "badly-localised": ["part", "merged"]}


def persons(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.choice(list(SHARES), n, p=list(SHARES.values()))
    with_box = np.isin(label, ["ok", "wrong-person", "box-sensitive", "pose", "box-limited"])
    given = np.where(label == "pose", rng.uniform(0, 0.5, n), 1 - rng.beta(1.5, 6, n))
    drop = np.where(label == "ok", rng.normal(0.01, 0.04, n), rng.uniform(0.3, 0.7, n))
    oks = np.clip(np.where(label == "pose", given + rng.normal(0, 0.05, n), given - drop), 0, 1)
    area = rng.uniform(600, 60000, n)
    n_keypoints = rng.integers(3, 18, n)
    return pd.DataFrame(
        {
            "image_id": rng.integers(1, 90, n),
            "annotation_id": np.arange(1000, 1000 + n),
            "file_name": "a.jpg",
            "label": label,
            "detail": [rng.choice(DETAILS[x]) if x in DETAILS else "" for x in label],
            "detection": np.where(with_box, np.arange(n), -1),
            "box_score": np.where(with_box, rng.uniform(0.5, 1, n), np.nan),
            "box_iou": np.where(with_box, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n)),
            "oks": np.where(with_box, oks, np.nan),
            "oks_given": given,
            "flipped": (label == "pose") & (rng.random(n) < 0.2),
            "area": area,
            "size": pd.cut(area, [0, 1024, 9216, 1e10], labels=["small", "medium", "large"]),
            "n_keypoints": n_keypoints,
            "n_visible": (n_keypoints * rng.beta(3, 1, n)).round().astype(int),
            "crowding": rng.beta(1, 4, n),
            "n_overlaps": rng.integers(0, 4, n),
            "truncation": rng.beta(1, 9, n),
            "tiny": area < 1024,
            "truncated": rng.random(n) < 0.1,
            "occluded": rng.random(n) < 0.2,
            "crowded": rng.random(n) < 0.2,
        }
    )


def joints(n: int = 300, skeleton: Skeleton = COCO17, seed: int = 1) -> pd.DataFrame:
    """Pose errors at 300 people, on the ground-truth box and on the detected box."""
    rng = np.random.default_rng(seed)
    frames = []
    k = len(skeleton)
    for on, scale in (("ground truth", 1.0), ("detected", 1.35)):
        spread = scale * rng.uniform(0.3, 1.1, k)
        off = rng.normal(0, 1, (n, k, 2)) * spread[None, :, None]
        similarity = np.exp(-(off**2).sum(axis=2) / 2)
        label = np.select(
            [similarity > 0.85, similarity >= 0.5, rng.random((n, k)) < 0.2, similarity > 0.3],
            ["good", "jitter", "inversion", "swap"],
            "miss",
        )
        area = np.repeat(persons(n)["area"].to_numpy(), k).reshape(n, k)
        pixels = off * (2 * np.array(skeleton.sigmas) * np.sqrt(area))[..., None]
        frames.append(
            pd.DataFrame(
                {
                    "image_id": 1,
                    "annotation_id": np.repeat(np.arange(1000, 1000 + n), k),
                    "detection": -1 if on == "ground truth" else 0,
                    "on": on,
                    "joint": np.tile(skeleton.names, n),
                    "side": np.tile([skeleton.side(i) for i in range(k)], n),
                    "visibility": rng.integers(1, 3, n * k),
                    "label": label.ravel(),
                    "similarity": similarity.ravel(),
                    "best": similarity.ravel(),
                    "whose": np.repeat(np.arange(1000, 1000 + n), k),
                    "x": 0.0,
                    "y": 0.0,
                    "dx": pixels[..., 0].ravel(),
                    "dy": pixels[..., 1].ravel(),
                    "score": rng.uniform(0, 1, n * k),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def detections(n: int = 600, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 1, n)
    kinds = list(DETECTION_TYPES)
    good = rng.random(n) < score**1.5
    kind = np.where(good, "true positive", rng.choice(kinds[1:], n))
    low = rng.uniform(0, 500, (n, 2))
    return pd.DataFrame(
        {
            "image_id": rng.integers(1, 90, n),
            "detection": np.arange(n),
            "x1": low[:, 0],
            "y1": low[:, 1],
            "x2": low[:, 0] + 80,
            "y2": low[:, 1] + 200,
            "score": score,
            "pose_score": score * rng.uniform(0.4, 1, n),
            "type": kind,
            "annotation_id": np.where(good, np.arange(1000, 1000 + n), -1),
            "iou": np.where(good, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n)),
            "oks": np.where(good, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n)),
        }
    )


def transitions() -> pd.DataFrame:
    names = list(JOINT_COLOURS)
    counts = np.diag([2900, 420, 30, 22, 260])
    counts[0, 1:] = [130, 8, 14, 41]
    counts[1, [0, 4]] = [88, 40]
    counts[4, [0, 1]] = [9, 21]
    return pd.DataFrame(counts, index=names, columns=names)


def what_if() -> pd.DataFrame:
    rows = [
        ("add missed people", "detector", 0.112), ("fix boxes", "detector", 0.041),
        ("drop background", "detector", 0.012), ("drop duplicates", "detector", 0),
        ("threshold .01", "threshold and scores", 0.032),
        ("perfect ranking", "threshold and scores", 0.021), ("fix jitter", "joint errors", 0.052),
        ("fix inversion", "joint errors", 0.009), ("fix swap", "joint errors", -0.002),
        ("fix miss", "joint errors", 0.061), ("flip whole people", "joint errors", 0.004),
    ]  # fmt: skip
    return pd.DataFrame(
        [
            {"name": name, "group": group, "AP": 0.5 + gain, "dAP": gain, "note": ""}
            for name, group, gain in rows
        ]
    )


def sweep() -> pd.DataFrame:
    threshold = np.round(np.arange(0.05, 1, 0.05), 2)
    return pd.DataFrame(
        {
            "threshold": threshold,
            "AP": 0.62 - 0.5 * threshold**2,
            "precision": 0.35 + 0.6 * threshold**0.5,
            "recall": 0.9 - 0.6 * threshold**1.5,
            "missed": (400 * (0.1 + 0.6 * threshold**1.5)).astype(int),
        }
    )


assert set(SHARES) == set(PERSON_COLOURS)


def stacked_curves() -> pd.DataFrame:
    recall = np.linspace(0, 1, 101)
    names = ["as it is", "jitter fixed", "inversion fixed", "swap fixed", "miss fixed",
             "boxes fixed", "false alarms dropped", "missed people added"]  # fmt: skip
    ends = [0.62, 0.66, 0.67, 0.68, 0.74, 0.8, 0.84, 1.0]
    columns = {
        name: np.where(recall <= end, 1 - (1 - end) * (recall / end) ** 3, 0.0)
        for name, end in zip(names, ends, strict=True)
    }
    return pd.DataFrame(columns, index=pd.Index(recall, name="recall"))


def ladder() -> dict[str, dict[str, float]]:
    return {
        "attainable": {"": 0.512, "D": 0.621, "P": 0.574, "DP": 0.713},
        "perfect": {"": 0.512, "D": 0.621, "P": 0.798, "DP": 1.0},
    }
