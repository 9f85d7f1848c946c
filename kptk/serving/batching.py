"""One thread that runs the pipeline, for as many waiting pictures at a time as fit a batch."""

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
    """One picture that waits, and what becomes of it.

    Attributes:
        data: the image file.
        det_threshold: lowest score of a person; None: the pipeline's.
        visualize: whether the picture is drawn.
        future: the ``result`` of the answer, or the error.
    """

    data: bytes
    det_threshold: float | None = None
    visualize: bool = True
    future: Future[dict[str, Any]] = field(default_factory=Future)


class Batcher:
    """Gathers what waits and runs it together.

    Pictures of one batch share the detection threshold; the one that has waited longest decides.
    A picture that fails costs no other: its batch is then run picture by picture.

    Args:
        pipe: runs in the batcher's thread only.
        max_batch: pictures at a time.
        max_queue: pictures that may wait.
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
        """Whether pictures are taken in and worked on."""
        return self._thread.is_alive() and not self._closing

    @property
    def waiting(self) -> int:
        """How many pictures wait for their turn."""
        with self._changed:
            return len(self._waiting)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Let a picture wait for its turn. Cancelling the future takes it out again.

        Raises:
            ServiceError: 503, too many wait already, or the service ends.
        """
        with self._changed:
            if not self.ready:
                raise ServiceError(503, "The service is starting or ending. Try again later.")
            if len(self._waiting) >= self._max_queue:
                raise ServiceError(
                    503, f"{self._max_queue} pictures wait already. Try again in a moment."
                )
            self._waiting.append(job)
            job.future.add_done_callback(self._let_go)
            self._changed.notify()
        return job.future

    def _let_go(self, future: Future[dict[str, Any]]) -> None:
        """Forget a cancelled picture at once: its bytes are no longer counted by anyone.

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
        for job, outcome in zip(jobs, self._predict(jobs), strict=True):
            if isinstance(outcome, PoseResult):
                _settle(job, outcome)
            else:
                job.future.set_exception(outcome)

    def _predict(self, jobs: Sequence[Job]) -> list[PoseResult | ServiceError]:
        if not jobs:
            return []
        try:
            return list(
                self._pipe.predict(
                    [job.data for job in jobs],
                    det_threshold=jobs[0].det_threshold,
                    batch_size=len(jobs),
                )
            )
        except Exception as error:
            if len(jobs) == 1:
                _log.exception("A picture failed")
                return [_internal(error)]
        return [outcome for job in jobs for outcome in self._predict([job])]


def _settle(job: Job, result: PoseResult) -> None:
    """Write the answer, with the picture if it is wanted."""
    if isinstance(result.error, InputError):
        job.future.set_exception(ServiceError(422, str(result.error)))
        return
    if result.error is not None:
        _log.error("A picture failed: %s", result.error)
        job.future.set_exception(_internal(result.error))
        return
    try:
        answer: dict[str, Any] = {"persons": persons(result)}
        if job.visualize:
            answer["image"] = _jpeg(result)
    except Exception as error:
        _log.exception("A picture could not be drawn")
        job.future.set_exception(_internal(error))
    else:
        job.future.set_result(answer)


def _jpeg(result: PoseResult) -> str:
    buffer = io.BytesIO()
    result.img.save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _internal(error: BaseException) -> ServiceError:
    """What a client is told; the log has the rest."""
    return ServiceError(500, f"The pipeline failed ({type(error).__name__}); see the server's log.")


def warm_up(pipe: Predictor, data: bytes, size: tuple[int, int], max_batch: int) -> None:
    """Run both models, alone and with full batches, whatever the first of them finds.

    Engines load what full batches need when the first one comes (:mod:`kptk.engines.base`), which no
    client should have to wait for.

    Args:
        pipe: the pipeline.
        data: an image file.
        size: its (height, width).
        max_batch: pictures that go through together.
    """
    everything = [0, 0, size[1], size[0]]
    people = [[[everything] * count] for count in (1, pipe.kpt_batch_size)]
    for count, boxes in ((1, None), (max_batch, None), (1, people[0]), (1, people[1])):
        for result in pipe.predict([data] * count, boxes=boxes, batch_size=count):
            if result.error is not None:
                raise result.error
