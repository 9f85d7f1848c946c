"""One thread that runs the pipeline, for as many waiting images at a time as fit a batch."""

from __future__ import annotations

import base64
import io
import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from kptk.errors import InputError, ServiceError
from kptk.pipeline.results import PoseResult
from kptk.serving.schema import persons

_log = logging.getLogger(__name__)
_QUALITY = 90  # of the JPEG that goes back


class Predictor(Protocol):
    """The part of :class:`kptk.Pipeline` that the service uses.

    Attributes:
        kpt_batch_size: people to a call of the keypoint model.
    """

    kpt_batch_size: int

    def predict(
        self,
        source: Any,
        *,
        boxes: Any = None,
        det_threshold: float | None = None,
        batch_size: int | None = None,
    ) -> Iterator[PoseResult]:
        """One result for each image of the list ``source``, in order; see Pipeline.predict."""
        ...


@dataclass(eq=False)
class Job:
    """One image that waits, and what becomes of it.

    Attributes:
        data: the image file.
        det_threshold: lowest score of a person; None: the pipeline's.
        visualize: whether the image is drawn.
        future: the ``result`` of the answer, or the error.
    """

    data: bytes
    det_threshold: float | None = None
    visualize: bool = True
    future: Future[dict[str, Any]] = field(default_factory=Future)


class Batcher:
    """Gathers what waits and runs it together.

    Images of one batch share the detection threshold; the one that has waited longest decides.
    An image that fails costs no other: its batch is then run image by image.

    Args:
        pipe: runs in the batcher's thread only.
        max_batch: images at a time.
        max_queue: images that may wait.
    """

    def __init__(self, pipe: Predictor, *, max_batch: int, max_queue: int) -> None:
        self._pipe = pipe
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="kptk-batcher", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether images are taken in and worked on."""
        return self._thread.is_alive() and not self._closing

    @property
    def waiting(self) -> int:
        """How many images wait for their turn."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Let an image wait for its turn. Cancelling the future takes it out again.

        Raises:
            ServiceError: 503, too many wait already, or the service ends.
        """
        with self._changed:
            if not self.ready:
                raise ServiceError(503, "The service is starting or ending. Try again later.")
            if len(self._waiting) >= self._max_queue:
                raise ServiceError(
                    503, f"{self._max_queue} images wait already. Try again in a moment."
                )
            self._waiting.append(job)
            job.future.add_done_callback(self._let_go)
            self._changed.notify()
        return job.future

    def _let_go(self, future: Future[dict[str, Any]]) -> None:
        """Forget a cancelled image at once: its bytes are no longer counted by anyone.

        It is searched for, since a callback that holds the job would be a cycle, whose bytes stay
        until the garbage collector comes by.
        """
        if future.cancelled():
            with self._changed:
                self._waiting = deque(job for job in self._waiting if job.future is not future)

    def close(self) -> None:
        """Take nothing more in, and return when what waits is done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            jobs = [job for job in batch if job.future.set_running_or_notify_cancel()]
            try:
                self._work(jobs)
            except BaseException as error:  # nobody may wait for ever
                _log.exception("A batch failed")
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(_internal(error))

    def _take(self) -> list[Job]:
        """The next batch; none when the service ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return []
            threshold = self._waiting[0].det_threshold
            fitting = [job for job in self._waiting if job.det_threshold == threshold]
            batch = fitting[: self._max_batch]
            taken = set(map(id, batch))
            self._waiting = deque(job for job in self._waiting if id(job) not in taken)
            return batch

    def _work(self, jobs: Sequence[Job]) -> None:
        """Settle the futures of a batch; if it fails, of its images one by one."""
        if not jobs:
            return
        threshold = jobs[0].det_threshold
        try:
            files = [job.data for job in jobs]
            results = list(self._pipe.predict(files, det_threshold=threshold, batch_size=len(jobs)))
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._work([job])
            else:
                _log.exception("An image failed")
                jobs[0].future.set_exception(_internal(error))
            return
        for job, result in zip(jobs, results, strict=True):
            try:
                job.future.set_result(_answer(result, job.visualize))
            except ServiceError as error:
                job.future.set_exception(error)
            except Exception as error:
                _log.exception("An image failed")
                job.future.set_exception(_internal(error))


def _answer(result: PoseResult, visualize: bool) -> dict[str, Any]:
    """The ``result`` of an answer, with the drawn image if it is wanted."""
    if isinstance(result.error, InputError):
        raise ServiceError(422, str(result.error))
    if result.error is not None:
        raise result.error
    answer: dict[str, Any] = {"persons": persons(result)}
    if visualize:
        buffer = io.BytesIO()
        result.img.save(buffer, "JPEG", quality=_QUALITY)
        answer["image"] = base64.b64encode(buffer.getvalue()).decode("ascii")
    return answer


def _internal(error: BaseException) -> ServiceError:
    """What a client is told; the log has the rest."""
    return ServiceError(500, f"The pipeline failed ({type(error).__name__}); see the server's log.")


def warm_up(pipe: Predictor, data: bytes, size: tuple[int, int], max_batch: int) -> None:
    """Run both models, alone and with full batches, whatever the first of them finds.

    Engines load what full batches need when the first one comes (:mod:`kptk.engines.base`), which
    no client should have to wait for.

    Args:
        pipe: the pipeline.
        data: an image file.
        size: its (height, width).
        max_batch: images that go through together.
    """
    everything = [0, 0, size[1], size[0]]
    people = [[[everything] * count] for count in (1, pipe.kpt_batch_size)]
    for count, boxes in ((1, None), (max_batch, None), (1, people[0]), (1, people[1])):
        for result in pipe.predict([data] * count, boxes=boxes, batch_size=count):
            if result.error is not None:
                raise result.error
