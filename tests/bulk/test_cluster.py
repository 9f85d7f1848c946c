"""Runs on a local cluster of processes, with workers that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk.errors import BulkError
from tests.bulk.fakes import log_lines, looked_at, make_death, make_fake, write_pictures

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as found,
    ):  # fmt: skip
        yield found


def run(client: Any, source: Any, out: Path, **options: Any) -> kptk.StoredPredictions:
    settings = {"format": "jsonl", "partition_size": 3, "progress": False, **options}
    return kptk.predict_dataset(source, make_fake, out, client, **settings)


@pytest.mark.slow  # starts the cluster
def test_workers_store_what_this_process_stores_with_a_pipeline_each(
    client: Any, tmp_path: Path
) -> None:
    paths = write_pictures(tmp_path / "in", {4: "0", 5: "3", 7: "bad"}, 20)
    there = run(client, paths, tmp_path / "there")
    by_process: dict[str, set[str]] = {}
    for line in log_lines(tmp_path / "in"):
        process, pipeline, _ = line.split()
        by_process.setdefault(process, set()).add(pipeline)
    assert set(looked_at(tmp_path / "in").values()) == {1}
    assert str(os.getpid()) not in by_process
    assert all(len(pipelines) == 1 for pipelines in by_process.values())
    here = run(None, paths, tmp_path / "here")
    assert list(there.results()) == list(here.results())
    assert len(there) == 20
    assert list(there.errors()) == [str(paths[7])]


@pytest.mark.slow
def test_the_demo_pipeline_by_the_address_of_the_scheduler(client: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pictures = sorted((Path(kptk.__file__).parent / "demo" / "images").glob("*.jpg"))[:2]
    address = client.scheduler.address
    there = kptk.predict_dataset(
        pictures, "demo", tmp_path / "there", address, partition_size=1, threads=1, progress=False
    )
    expected = list(kptk.create_pipeline("demo").predict(pictures))
    for result, wanted in zip(there.results(), expected, strict=True):
        assert len(result) == len(wanted) > 0
        np.testing.assert_allclose(result.boxes, wanted.boxes, atol=0.01)
        np.testing.assert_allclose(result.keypoints, wanted.keypoints, atol=0.05)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)
    return path.read_text()


@pytest.mark.slow  # Dask starts another worker
def test_a_worker_killed_in_the_middle_loses_nothing(client: Any, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", {7: "hold"}, 30)
    found: list[kptk.StoredPredictions] = []
    thread = threading.Thread(target=lambda: found.append(run(client, paths, tmp_path / "out")))
    thread.start()
    os.kill(int(wait_for(tmp_path / "in" / "7.pid")), signal.SIGKILL)
    thread.join(60)
    [stored] = found
    assert [Path(str(result.path)).stem for result in stored.results()] == [
        str(i) for i in range(30)
    ]
    assert not stored.errors()
    times = looked_at(tmp_path / "in")
    assert times["7.jpg"] == 2  # 6 and 8 are in its partition
    assert {name for name, count in times.items() if count > 1} <= {"6.jpg", "7.jpg", "8.jpg"}
    assert not list((tmp_path / "out" / "attempts").iterdir())


@pytest.mark.slow  # three workers die
def test_an_image_that_kills_workers_is_one_error(client: Any, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", {4: "poison"}, 12)
    stored = run(client, paths, tmp_path / "out")
    assert list(stored.errors()) == [str(paths[4])]
    assert "The process died 2 times while it was at this image" in stored.errors()[str(paths[4])]
    assert len(stored) == 12
    assert sum(done.people for done in stored.partitions) == 11
    assert looked_at(tmp_path / "in")["4.jpg"] == 3  # at once, then twice by itself


@pytest.mark.slow  # workers die
def test_work_that_kills_every_worker_is_given_up(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)
    monkeypatch.setattr("kptk.bulk._ROUNDS", 2)
    paths = write_pictures(tmp_path / "in", {}, 2)
    with pytest.raises(BulkError, match=r"1 partitions could not be done \(0\).*died again"):
        kptk.predict_dataset(
            paths, make_death, tmp_path / "out", client, format="jsonl", progress=False
        )


def test_no_scheduler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kptk.bulk.TIMEOUT", 0.5)
    paths = write_pictures(tmp_path / "in", {}, 1)
    with pytest.raises(BulkError, match=r"no Dask scheduler at 'tcp://127.0.0.1:9'.*dask schedul"):
        run("tcp://127.0.0.1:9", paths, tmp_path / "out")
