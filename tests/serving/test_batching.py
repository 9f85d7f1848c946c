"""kptk.serving.batching without a server. Expected values are by hand."""

from __future__ import annotations

import subprocess
import sys
import weakref

import pytest

from kptk.errors import MissingDependencyError, ServiceError
from kptk.serving import ServeOptions, create_app, serve
from kptk.serving.batching import Batcher, Job
from tests.serving.running import PATIENCE, gated, picture, right_edge, running, wait_for


def test_nothing_is_taken_in_before_the_start_and_after_the_end() -> None:
    batcher = Batcher(gated()[0], max_batch=2, max_queue=2)
    assert not batcher.ready
    with pytest.raises(ServiceError, match="starting or ending"):
        batcher.submit(Job(picture(1)))
    batcher.start()
    assert batcher.ready
    batcher.close()
    assert not batcher.ready
    with pytest.raises(ServiceError, match="starting or ending"):
        batcher.submit(Job(picture(1)))


def test_the_end_finishes_what_waits() -> None:
    pipe, detector = gated()
    batcher = Batcher(pipe, max_batch=2, max_queue=9)
    batcher.start()
    detector.gate.clear()
    futures = [batcher.submit(Job(picture(n), visualize=False)) for n in range(5)]
    detector.gate.set()
    batcher.close()
    assert all(future.done() for future in futures)
    edges = [future.result()["persons"][0]["bbox"][2] for future in futures]
    assert edges == [right_edge(n) for n in range(5)]


def test_cancelled_pictures_make_room_and_are_not_run() -> None:
    pipe, detector = gated()
    batcher = Batcher(pipe, max_batch=1, max_queue=1)
    batcher.start()
    detector.gate.clear()
    first = batcher.submit(Job(picture(1)))
    while not first.running():
        pass
    dropped = batcher.submit(Job(picture(2)))
    with pytest.raises(ServiceError) as refused:
        batcher.submit(Job(picture(3)))
    assert refused.value.status == 503
    assert dropped.cancel()
    last = batcher.submit(Job(picture(4)))
    detector.gate.set()
    assert last.result(PATIENCE)["persons"]
    batcher.close()
    assert detector.seen == [[1], [4]]


def test_cancelled_pictures_are_forgotten_at_once_and_take_no_place_in_a_batch() -> None:
    pipe, detector = gated()
    batcher = Batcher(pipe, max_batch=2, max_queue=9)
    batcher.start()
    detector.gate.clear()
    futures = [batcher.submit(Job(picture(1)))]
    wait_for(futures[0].running)
    job = Job(picture(2))
    forgotten = weakref.ref(job)
    futures += [batcher.submit(job), *(batcher.submit(Job(picture(n))) for n in (3, 4))]
    del job
    assert futures[1].cancel()
    assert batcher.waiting == 2
    assert forgotten() is None
    detector.gate.set()
    batcher.close()
    assert all(future.done() for future in futures)
    assert detector.seen == [[1], [3, 4]]


def test_full_batches_are_warm_before_the_service_is_ready() -> None:
    with running(ServeOptions(max_batch=5)) as service:
        pictures, people = service.warm_up
    assert {1, 5} == set(pictures)
    assert {1, 16} <= set(people)  # 16: PaddleX's batch size for keypoints


def test_a_pipeline_that_breaks_its_promise_leaves_nobody_waiting() -> None:
    class Short:
        def predict(self, source: object, **settings: object) -> object:
            return iter(())  # no result for any picture

    batcher = Batcher(Short(), max_batch=2, max_queue=2)  # type: ignore[arg-type]
    batcher.start()
    for _ in range(2):  # and it goes on
        with pytest.raises(ServiceError) as failed:
            batcher.submit(Job(picture(1))).result(PATIENCE)
        assert failed.value.status == 500
    batcher.close()


def test_the_web_framework_is_loaded_when_it_is_used() -> None:
    code = "import kptk.serving, kptk.cli, sys; sys.exit('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("call", [create_app, serve])
def test_without_the_extra_it_says_how_to_install_it(
    call: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kptk\[serve\]'"):
        call(gated()[0])  # type: ignore[operator]
