"""What has happened in a run, read from its ``events.jsonl`` as it grows."""

from __future__ import annotations

import html
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kptk.errors import DataError, InputError, ModelError, TrainingError, nearest
from kptk.files import environment
from kptk.models.network import ARCHITECTURES, kind_of
from kptk.training.settings import DataSettings, TrainSettings, read_settings

if TYPE_CHECKING:
    import pandas as pd

    from kptk.coco import KeypointData


_TURNS = ("launch", "start", "stopped", "error", "end")


_NOT_MEASURED = ("event", "time", "step")


def add_event(folder: Path, event: str, **fields: Any) -> None:
    """Add an event to a run's log, as its worker does."""
    line = json.dumps({"event": event, "time": round(time.time(), 3), **fields})
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


class Events:
    """The events of a run so far; ``update`` reads only what is new.

    Attributes:
        turn: the last event that changed the state of the run (launch, start, stopped,
            error, end).
        step: the last step that was trained.
        saved: the last step with a checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"
        self._offset = 0
        self._rows: dict[int, dict[str, Any]] = {}
        self.turn: dict[str, Any] = {}
        self.step = 0
        self.saved = 0

    def update(self) -> Events:
        """Read the events that were added; a line that is not whole waits for its end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return self
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                self._add(json.loads(line))
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # cut off when the disk was full; the events after it count
        return self

    def _add(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in _TURNS:
            self.turn = event
        if kind == "start":  # goes on from a checkpoint: what came after it is done again
            self.step = int(event["step"])
            self._rows = {step: row for step, row in self._rows.items() if step <= self.step}
        elif kind == "checkpoint":
            self.saved = int(event["step"])
        elif kind in ("step", "eval"):
            self.step = max(self.step, int(event["step"]))
            row = self._rows.setdefault(int(event["step"]), {})
            row.update({k: v for k, v in event.items() if k not in _NOT_MEASURED})

    @property
    def latest(self) -> dict[str, Any]:
        """What was measured at the last step: loss, lr, seconds; {} before the first."""
        return self._rows.get(self.step, {})

    @property
    def best(self) -> tuple[float, int | None]:
        """The best AP (0 to 1) and its step; (NaN, None) before an evaluation."""
        found = [
            (float(row["AP"]), step)
            for step, row in self._rows.items()
            if row.get("AP") is not None
        ]
        return max(found, default=(math.nan, None))  # of equal ones the last, as it is kept

    @property
    def start_ap(self) -> float:
        """The AP before the first step; NaN if it was not measured."""
        value = self._rows.get(0, {}).get("AP")
        return math.nan if value is None else float(value)

    def table(self) -> pd.DataFrame:
        """One row a step; see ``Run.history``."""
        import pandas as pd

        first = ["loss", "lr", "seconds", "AP"]
        table = pd.DataFrame.from_dict(self._rows, orient="index").sort_index()
        rest = [name for name in table.columns if name not in first]
        table = table.reindex(columns=first + rest).astype(float)
        return table.rename_axis("step")


# ---- launch: The worker process of a run directory: at most one, told by a lock it holds while
# it lives.
#
# The lock belongs to an open file that the worker inherits. The operating system frees it when the
# worker ends, however it ends, so there is no stale file to doubt and no process number to mistake.


WORKER = "kptk.training.trainer"


_LOCK = "worker.lock"


_PID = "worker.json"


LOG = "worker.log"


def start_worker(folder: Path, *, module: str = WORKER) -> subprocess.Popen[bytes]:
    """Start training in a run directory, in a session of its own.

    The worker outlives this process. What it prints goes to ``worker.log``.

    Args:
        folder: the run directory, with its ``settings.yml``.
        module: the worker's module; it gets the run directory as its only argument.

    Raises:
        TrainingError: a worker is at work there already, or none can be started.
    """
    if sys.platform == "win32":
        raise TrainingError("Training needs Linux or macOS; on Windows, use WSL.")
    descriptor = _take_lock(folder)
    try:
        add_event(folder, "launch")  # what an earlier worker said last is over
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(folder.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,  # an interrupt of the notebook or terminal stays here
                pass_fds=(descriptor,),
            )
        started = {"pid": process.pid, "time": round(time.time(), 3)}
        (folder / _PID).write_text(json.dumps(started), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"The worker of {folder} cannot be started: {error}.") from error
    finally:
        os.close(descriptor)
    return process


def _take_lock(folder: Path) -> int:
    import fcntl

    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(20):  # whoever asks is_running holds the lock for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.05)
    os.close(descriptor)
    raise TrainingError(
        f"A worker is training in {folder} already. Follow it with kptk.load_run, or stop it first."
    )


def is_running(folder: Path) -> bool:
    """Whether a worker is alive in a run directory."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def stop_worker(folder: Path, timeout: float) -> None:
    """Ask the worker to write a checkpoint and end, and wait until it has.

    Args:
        folder: the run directory.
        timeout: seconds to wait.

    Raises:
        TrainingError: it is still there then.
    """
    if not is_running(folder):
        return
    pid = int(json.loads((folder / _PID).read_text(encoding="utf-8"))["pid"])
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + timeout
    while is_running(folder):
        if time.monotonic() > deadline:
            raise TrainingError(
                f"The worker of {folder} (process {pid}) has not stopped within {timeout:.0f} s. "
                "It may be in a long step, an evaluation or the export: wait, or kill it; the "
                "last checkpoint stays."
            )
        time.sleep(0.05)


# ---- start: What a run starts from: a model's name, a former run, weights; and its data, checked.


StrPath = str | os.PathLike[str]


_N_JOINTS = 17


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        model: the architecture.
        weights: a weight file, or the directory of a packed model.
        input_size: (height, width) in pixels.
    """

    model: str
    weights: Path
    input_size: tuple[int, int]


def find_start(model: StrPath, weights: StrPath | None = None) -> Start:
    """Find the architecture and the weights that a run starts from.

    Args:
        model: an official name, ``"demo-det"`` or ``"demo-kpt"``, the directory of a former run
            (or of the model it exported), or a ``.pdparams`` file.
        weights: other weights for the named architecture: a ``.pdparams`` file or a former run.

    Raises:
        ModelError: there is no such model, or it has no training weights.
        DownloadError: the weights could not be fetched.
    """
    from kptk.models.catalog import MODELS
    from kptk.models.modeldir import architecture_of
    from kptk.models.zoo import find_weights

    name = os.fspath(model)
    if weights is not None:
        other = _of_run(Path(weights).expanduser())
        found = other.weights if other else find_weights(weights).absolute()
        if name not in MODELS:
            raise ModelError(
                f"With weights=, model must be one of {', '.join(MODELS)}. Got {name!r}."
            )
        return Start(MODELS[name].architecture, found, MODELS[name].input_size)
    if name in MODELS:
        spec = MODELS[name]
        return Start(spec.architecture, find_weights(name).absolute(), spec.input_size)
    path = Path(name).expanduser()
    start = _of_run(path) or _of_packed(path)
    if start is not None:
        return start
    params = find_weights(name).absolute()
    architecture = architecture_of(params, None)
    return Start(architecture, params, MODELS[architecture].input_size)


def _of_run(path: Path) -> Start | None:
    """The best weights of a run, from its directory or that of its exported model."""
    for folder in (path, path.parent):
        if path.is_dir() and (folder / "settings.yml").is_file():
            settings = read_settings(folder / "settings.yml")
            best = folder.absolute() / "best.npz"
            if not best.is_file():
                raise ModelError(
                    f"The run {str(folder)!r} has not been evaluated yet, so it has no weights "
                    "to start from. Let it go on first."
                )
            return Start(settings.model, best, settings.size)
    return None


def _of_packed(path: Path) -> Start | None:
    """A directory as the demo models have: the graph keeps the training weights."""
    if not (path / "inference.onnx").is_file() or (path / "inference.pdiparams").is_file():
        return None
    from kptk.models.modeldir import ModelDir

    found = ModelDir.open(path)
    if found.name not in ARCHITECTURES:
        return None
    return Start(found.name, path.absolute(), found.input_size)


def find_split(data: object, split: str) -> KeypointData:
    """Load one side of the data, checked.

    Args:
        data: a data set's folder; an annotation file; a pair (image folder, annotation file); or
            data already loaded with ``kptk.load_coco``.
        split: ``"train"`` or ``"val"``, for a folder with both.

    Raises:
        DataError: there is no such data, or it cannot be used as it is.
    """
    from kptk.coco import KeypointData, load_coco

    if isinstance(data, KeypointData):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return load_coco(data[1], images=data[0])
    if isinstance(data, str | os.PathLike):
        return load_coco(data, split=None if Path(data).is_file() else split)
    raise DataError(
        f"{split} must be a data set's folder, (image folder, annotation file) or what "
        f"kptk.load_coco returns. Got {data!r}."
    )


def check_data(train: KeypointData, val: KeypointData, model: str) -> int:
    """Refuse data that would train or measure nonsense.

    Returns:
        The number of training samples: images (detector) or people with points (pose model).

    Raises:
        DataError: other joints than the network has, nobody to learn from, or images of the
            validation set among those of the training set.
    """
    keypoints = kind_of(model) == "keypoint"
    for data, side in ((train, "train"), (val, "val")):
        if keypoints and len(data.skeleton) != _N_JOINTS:
            raise DataError(
                f"{model} places {_N_JOINTS} joints; {side} has {len(data.skeleton)}. Convert the "
                "data to COCO's 17 joints first."
            )
        if not _n_people(data, keypoints):
            raise DataError(
                f"{side} ({data.annotations_path}) holds no people"
                + (" with labelled points." if keypoints else " with boxes.")
            )
    _refuse_leaks(train, val)
    return _n_people(train, True) if keypoints else len(train)


def _n_people(data: KeypointData, labelled: bool) -> int:
    people = (person for image_id in data.image_ids for person in data.people(image_id))
    return sum(not labelled or person.get("num_keypoints", 0) > 0 for person in people)


def _refuse_leaks(train: KeypointData, val: KeypointData) -> None:
    """The same picture on both sides makes AP say what was learned by heart."""
    leaks = list(_same_files(train, val))
    if leaks:
        first = " and ".join(str(path) for path in leaks[0])
        raise DataError(
            f"{len(leaks)} of {len(val)} validation images are training images too, so AP would "
            f"be too good. The first: {first}. Split the data anew (kptk split)."
        )


def _same_files(train: KeypointData, val: KeypointData) -> Iterator[tuple[Path, Path]]:
    """Pairs of files with the same bytes; only files of equal size are read."""
    from kptk.files import file_hash

    by_size: dict[int, list[Path]] = {}
    for path in map(train.image_path, train.image_ids):
        by_size.setdefault(path.stat().st_size, []).append(path)
    hashes: dict[Path, str] = {}
    for path in map(val.image_path, val.image_ids):
        for other in by_size.get(path.stat().st_size, []):
            if other not in hashes:
                hashes[other] = file_hash(other)
            if path.resolve() == other.resolve() or file_hash(path) == hashes[other]:
                yield other, path
                break


def split_settings(data: KeypointData, file: Path) -> DataSettings:
    """What the worker is told of data whose annotations are saved to ``file``."""
    return DataSettings(images=data.images_dir.absolute(), annotations=file.absolute())


def save_split(data: KeypointData, file: Path) -> None:
    """Write the annotations as they were checked and mended, for the worker.

    Data that is a subset, or mended in memory only, is trained on as it is seen; and what is
    edited later does not change a run that goes on.
    """
    from kptk.coco.dataset import write_coco

    category = next(c for c in data.content["categories"] if c["id"] == data.category_id)
    people: list[dict[str, Any]] = [
        {**person, "category_id": 1}
        for image_id in data.image_ids
        for person in data.annotations(image_id)
    ]
    content = {
        "images": data.images,
        "annotations": people,
        "categories": [{**category, "id": 1}],
    }
    write_coco(content, file, overwrite=True)


# ---- run: A training run as a user sees it: watch it, stop it, go on, take the model.


Status = Literal["running", "finished", "stopped", "failed", "interrupted"]


_POLL = 0.3  # seconds between looks at the events


_NO_ROOM = 100_000  # bytes


_ENDINGS: dict[str, Status] = {"end": "finished", "stopped": "stopped", "error": "failed"}


class Run:
    """A run directory and the worker that trains in it, if one is at work.

    Every look is a fresh one: a run that another kernel started is followed just as well.

    Args:
        path: the run directory.

    Raises:
        TrainingError: it is none.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path).expanduser()
        if not (self.path / "settings.yml").is_file():
            siblings = (p.parent.name for p in self.path.parent.glob("*/settings.yml"))
            raise TrainingError(
                f"A run directory must hold settings.yml. {str(self.path)!r} does not."
                f"{nearest(self.path.name, siblings)}"
            )
        self.settings: TrainSettings = read_settings(self.path / "settings.yml")
        self._events = Events(self.path)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> Status:
        """What the run is doing.

        ``"running"``; ``"finished"``: the model is there (``stopped_early`` says whether before
        the last step); ``"stopped"``: it was told to;
        ``"failed"``: ``error`` says why; ``"interrupted"``: the worker vanished (was killed).
        """
        if self._process is not None:
            self._process.poll()  # lets the system forget a worker that has ended
        if is_running(self.path):
            return "running"
        turn = str(self._events.update().turn.get("event"))
        if turn in _ENDINGS:
            return _ENDINGS[turn]
        return "failed" if "Traceback" in self._log() else "interrupted"

    @property
    def stopped_early(self) -> str | None:
        """Why the run ended before its last step, by ``patience``; None if it did not."""
        turn = self._events.update().turn
        return str(turn["reason"]) if turn.get("event") == "end" and "reason" in turn else None

    @property
    def step(self) -> int:
        """Steps trained so far."""
        return self._events.update().step

    @property
    def history(self) -> pd.DataFrame:
        """What was measured, one row a step.

        Columns: ``loss``, ``lr``, ``seconds`` (of the step), ``AP`` and COCO's other statistics
        (0 to 1; NaN where the step was not evaluated). The index is the step, from 1; row 0 is the
        AP of the start. Steps that were trained again after a resume appear once, as they were
        the last time.
        """
        return self._events.update().table()

    @property
    def best_ap(self) -> float:
        """The best AP on the validation data so far, 0 to 1; NaN before the first evaluation."""
        return self._events.update().best[0]

    @property
    def start_ap(self) -> float:
        """The AP of the start, before the first step, 0 to 1; NaN if it was not measured.

        A run from random weights does not measure it.
        """
        return self._events.update().start_ap

    @property
    def model_dir(self) -> Path:
        """The exported model directory, with the weights of the best AP.

        Raises:
            TrainingError: there is none yet.
        """
        folder = self.path / "model"
        if folder.is_dir():
            return folder
        advice = (
            "Wait for it: run.wait()."
            if self.status == "running"
            else "Go on with run.resume(), or take the best so far with run.export()."
        )
        raise TrainingError(f"The run {self.path} has no model yet: it is {self.status}. {advice}")

    @property
    def error(self) -> str | None:
        """What went wrong and what to do; None if nothing did."""
        status = self.status
        if status not in ("failed", "interrupted"):
            return None
        turn = self._events.turn
        if turn.get("event") == "error":
            return str(turn["message"])
        said = self._log().strip().splitlines()
        last = f" It said last: {said[-1][:300]}." if status == "failed" else ""
        return (
            f"The worker ended at step {self._events.step} without saying why; {self._manner()}."
            f"{last} The checkpoint of step {self._events.saved} is kept: go on with run.resume(). "
            f"All it said is in {self.path / LOG}."
        )

    def wait(self, progress: bool = True) -> Run:
        """Follow the run until it ends. An interrupt stops it with a checkpoint.

        Args:
            progress: show a progress bar (``KPTK_PROGRESS=0`` hides it too).

        Returns:
            The run itself, finished or stopped.

        Raises:
            TrainingError: it failed; the message is ``error``.
        """
        try:
            self._follow(progress)
        except KeyboardInterrupt:
            self.stop()
        problem = self.error
        if problem:
            raise TrainingError(problem)
        return self

    def stop(self, timeout: float = 600) -> Run:
        """Stop after the current step, with a checkpoint to go on from.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TrainingError: it does not stop in time.
        """
        if not is_running(self.path):
            return self
        stop_worker(self.path, timeout)
        if self.status == "interrupted":  # it had not come as far as to listen; nothing is lost
            add_event(self.path, "stopped", step=self._events.saved)
        return self

    def resume(self, *, wait: bool = True, progress: bool = True) -> Run:
        """Go on from the last checkpoint with the steps that would have followed.

        Args:
            wait: follow it to the end; False returns at once.
            progress: show a progress bar while waiting.

        Raises:
            TrainingError: it is running or finished.
        """
        if self.status == "finished":
            early = f" early, at step {self.step}: {self.stopped_early}" * bool(self.stopped_early)
            raise TrainingError(
                f"The run {self.path} is finished{early}. Train on from its best weights with "
                f"kptk.finetune({str(self.path)!r}, ...)."
            )
        self._process = start_worker(self.path)
        return self.wait(progress) if wait else self

    def export(self) -> Path:
        """Make the model directory from the best weights so far, for a run that was stopped.

        Raises:
            TrainingError: the run has not been evaluated yet.
        """
        from kptk.models.export import export_weights

        best = self.path / "best.npz"
        if not best.is_file():
            raise TrainingError(f"The run {self.path} has no weights yet: it was not evaluated.")
        model = self.settings.model
        target = self.path / "model"
        return export_weights(best, model, target, input_size=self.settings.size, check=True)

    def _follow(self, progress: bool) -> None:
        from tqdm.auto import tqdm

        from kptk.files import show_progress

        hidden = not (progress and show_progress())
        with tqdm(total=self.settings.steps, unit=" steps", disable=hidden) as bar:
            running = True
            while running:
                running = self.status == "running"
                events = self._events.update()
                bar.update(events.step - bar.n)
                bar.set_postfix(_postfix(events), refresh=False)
                time.sleep(_POLL if running else 0)

    def _log(self) -> str:
        try:
            return (self.path / LOG).read_text(encoding="utf-8", errors="replace")[-20000:]
        except FileNotFoundError:
            return ""

    def _manner(self) -> str:
        code = self._process.returncode if self._process else None
        if shutil.disk_usage(self.path).free < _NO_ROOM:
            return "the disk is full (free some space)"
        if code == -9:
            return (
                "it was killed, as systems do that run out of memory (a smaller batch_size helps)"
            )
        if code is not None and code < 0:
            return f"it was ended by signal {-code}"
        return "it may have been killed, by a restart or for lack of memory"

    def _summary(self) -> dict[str, str]:
        status = self.status
        ap, at = self._events.best
        loss = self._events.latest.get("loss")
        early = f" early ({self.stopped_early})" if self.stopped_early else ""
        rows = {
            "status": status + early,
            "model": self.settings.model,
            "step": f"{self._events.step} of {self.settings.steps}",
            "loss": "" if loss is None else f"{loss:.4g}",
            "best AP": "" if math.isnan(ap) else f"{100 * ap:.1f} (step {at})",
            "error": self.error or "",
        }
        return {name: value for name, value in rows.items() if value}

    def __repr__(self) -> str:
        rows = self._summary()
        ap = f", best AP {rows['best AP']}" if "best AP" in rows else ""
        return f"Run({str(self.path)!r}: {rows['status']}, step {rows['step']}{ap})"

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table><caption>{html.escape(str(self.path))}</caption>{body}</table>"

    def to_json(self) -> dict[str, Any]:
        """The state as JSON-ready values; AP is None before an evaluation."""
        status = self.status
        ap, at = self._events.best
        return {
            "path": str(self.path),
            "status": status,
            "model": self.settings.model,
            "step": self._events.step,
            "steps": self.settings.steps,
            "best_AP": None if math.isnan(ap) else ap,
            "best_step": at,
            "start_AP": None if math.isnan(self.start_ap) else self.start_ap,
            "stopped_early": self.stopped_early,
            "model_dir": str(self.model_dir) if status == "finished" else None,
            "error": self.error,
        }


def _postfix(events: Events) -> dict[str, str]:
    loss, (ap, _) = events.latest.get("loss"), events.best
    shown = {} if loss is None else {"loss": f"{loss:.4g}"}
    return shown if math.isnan(ap) else {**shown, "best AP": f"{100 * ap:.1f}"}


def load_run(path: StrPath) -> Run:
    """Attach to a run, at work or not, from any kernel.

    Args:
        path: the run directory.

    Raises:
        TrainingError: it is none.
    """
    return Run(path)


# ---- table: Any number of runs side by side.


def compare_runs(runs: StrPath | Run | Iterable[StrPath | Run]) -> pd.DataFrame:
    """Put runs side by side: how far they came, how good they are, and where their settings differ.

    Args:
        runs: runs or run directories, or one folder that holds some.

    Returns:
        One row a run, best AP first. Columns ``run`` (the directory's name), ``model``,
        ``status``, ``step``, ``steps``, ``minutes`` of training, ``start_AP`` (before the first
        step; NaN if it was not measured), ``best_AP``, ``best_step``, then every setting that is
        not the same in all of them. AP is 0 to 1 on each run's own validation data.

    Raises:
        InputError: there are no runs.
        TrainingError: a directory is no run.
    """
    import pandas as pd

    found = [run if isinstance(run, Run) else Run(run) for run in _listed(runs)]
    if not found:
        raise InputError(
            "runs must be runs, run directories, or a folder that holds some (settings.yml is in "
            f"each). Got {runs!r}, which has none."
        )
    settings = [_flat(run.settings.model_dump(mode="json")) for run in found]
    different = [
        name
        for name in dict.fromkeys(name for values in settings for name in values)
        if name not in ("model", "steps") and len({repr(s.get(name)) for s in settings}) > 1
    ]
    rows = [
        {**_row(run), **{name: values.get(name) for name in different}}
        for run, values in zip(found, settings, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("best_AP", ascending=False, ignore_index=True)


def _listed(runs: StrPath | Run | Iterable[StrPath | Run]) -> list[StrPath | Run]:
    if isinstance(runs, Run):
        return [runs]
    if isinstance(runs, str | Path):
        folder = Path(runs).expanduser()
        if (folder / "settings.yml").is_file():
            return [folder]
        return [*sorted(path.parent for path in folder.glob("*/settings.yml"))]
    return list(runs)  # type: ignore[arg-type]


def _row(run: Run) -> dict[str, Any]:
    state = run.to_json()
    history = run.history
    start = history["AP"].get(0, float("nan")) if "AP" in history else float("nan")
    return {
        "run": run.path.name,
        "model": state["model"],
        "status": state["status"],
        "step": state["step"],
        "steps": state["steps"],
        "minutes": history["seconds"].sum() / 60 if "seconds" in history else 0.0,
        "start_AP": start,
        "best_AP": run.best_ap,
        "best_step": state["best_step"],
    }


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as dotted names; lists of transforms stay whole."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat
