"""What has happened in a run: its ``events.jsonl``, one JSON object a line, read as it grows."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


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
        if kind in ("launch", "start", "stopped", "error", "end"):
            self.turn = event
        if kind == "start":  # goes on from a checkpoint: what came after it is done again
            self.step = int(event["step"])
            self._rows = {step: row for step, row in self._rows.items() if step <= self.step}
        elif kind == "checkpoint":
            self.saved = int(event["step"])
        elif kind in ("step", "eval"):
            self.step = max(self.step, int(event["step"]))
            measured = {k: v for k, v in event.items() if k not in ("event", "time", "step")}
            self._rows.setdefault(int(event["step"]), {}).update(measured)

    @property
    def loss(self) -> float | None:
        """The loss of the last step; None before the first."""
        return self._rows.get(self.step, {}).get("loss")

    @property
    def best(self) -> tuple[float, int | None]:
        """The best AP (0 to 1) and its step; (NaN, None) before an evaluation."""
        aps = ((row.get("AP"), step) for step, row in self._rows.items())
        found = [(float(ap), step) for ap, step in aps if ap is not None]
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
