"""Runs inside PaddleX's own environment, never in kptk's: predicts and writes what it got as JSON.

``python paddlex_side.py JOBS ANSWERS``: JOBS is a JSON list of
``{"config", "images", "threshold"}`` with paths to a pipeline's YAML file and to images. ANSWERS
becomes ``{"version", "connections", "paddlex", "kptk"}``. The last two hold, for each job, a list
of people for each image, or the error that was raised; kptk runs here too, on the same OpenCV and
the same Paddle. Connections are the addresses that the process tried to reach (it cannot: each try
fails).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

connections: list[str] = []


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: no test may depend on a model hub."""
    if event in ("socket.connect", "socket.getaddrinfo"):
        connections.append(repr(arguments[-1] if event == "socket.connect" else arguments[:2]))
        raise OSError(f"{event} is refused: the comparison runs without a network.")


def person(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "box": [float(value) for value in found["coordinate"]],
        "score": float(found["det_score"]),
        "keypoints": [[float(value) for value in point] for point in found["keypoints"]],
        "kpt_score": float(found["kpt_score"]),
    }


def by_paddlex(job: dict[str, Any]) -> Any:
    import paddlex

    try:
        pipeline = paddlex.create_pipeline(job["config"])
        results = pipeline.predict(job["images"], det_threshold=job["threshold"])
        return [[person(found) for found in result["boxes"]] for result in results]
    except Exception as error:  # whatever PaddleX raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def by_kptk(job: dict[str, Any]) -> Any:
    import kptk

    pipeline = kptk.create_pipeline(job["config"], engine="paddle", device="cpu", threads=1)
    results = pipeline.predict(job["images"], det_threshold=job["threshold"], on_error="raise")
    return [[person(found) for found in result.json["boxes"]] for result in results]


def main(jobs: Path, answers: Path) -> None:
    sys.addaudithook(refuse_network)
    import paddlex

    asked = json.loads(jobs.read_text())
    found = {
        "version": paddlex.__version__,
        "paddlex": [by_paddlex(job) for job in asked],
        "kptk": [by_kptk(job) for job in asked],
        "connections": connections,
    }
    answers.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
