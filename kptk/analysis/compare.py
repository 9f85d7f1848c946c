"""Two pipelines on the same people: who was fixed, who was broken, what AP gained."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.result import ErrorAnalysis

FIXED, BROKEN, STILL_WRONG, STILL_RIGHT = "fixed", "broken", "still wrong", "still right"
CHANGES = (FIXED, BROKEN, STILL_WRONG, STILL_RIGHT)
OK = "ok"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two analyses of the same data.

    Attributes:
        before: the first.
        after: the second.
    """

    before: ErrorAnalysis
    after: ErrorAnalysis

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found.

        Columns ``image_id, annotation_id, file_name``, ``before`` and ``after`` (labels),
        ``oks_before`` and ``oks_after``, and ``change``: fixed, broken, still wrong, still right.
        """
        import pandas as pd

        first, second = self.before.persons, self.after.persons
        was, now = first["label"] == OK, second["label"] == OK
        change = np.select([~was & now, was & ~now, ~was & ~now], CHANGES[:3], CHANGES[3])
        return pd.DataFrame(
            {
                **{key: first[key] for key in ("image_id", "annotation_id", "file_name")},
                "before": first["label"],
                "after": second["label"],
                "oks_before": first["oks"],
                "oks_after": second["oks"],
                "change": change,
            }
        )

    @property
    def fixed(self) -> pd.DataFrame:
        """The people who are right now and were not."""
        return self.persons[self.persons["change"] == FIXED]

    @property
    def broken(self) -> pd.DataFrame:
        """The people who were right and are not any more."""
        return self.persons[self.persons["change"] == BROKEN]

    @cached_property
    def labels(self) -> pd.DataFrame:
        """How many people went from which label (rows) to which (columns)."""
        import pandas as pd

        return pd.crosstab(self.persons["before"], self.persons["after"])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a metric: before, after, delta, and the interval of delta, AP from 0 to 1.

        The interval is of a paired bootstrap over the images: both pipelines on the same draws.
        """
        import pandas as pd

        first, second = self.before.end_to_end, self.after.end_to_end
        draws = self.after.end_to_end_draws - self.before.end_to_end_draws
        low, high = _interval(draws, self.after.options.confidence)
        rows = [
            {
                "metric": name,
                "before": first[name],
                "after": second[name],
                "delta": second[name] - first[name],
                "low": low[k],
                "high": high[k],
            }
            for k, name in enumerate(first)
        ]
        return pd.DataFrame(rows)

    @property
    def json(self) -> dict[str, Any]:
        """Counts and metrics as plain values."""
        counts = self.persons["change"].value_counts()
        return {
            "data": self.before.bundle.name,
            "persons": {name: int(counts.get(name, 0)) for name in CHANGES},
            "metrics": self.metrics.set_index("metric").to_dict("index"),
        }

    @property
    def text(self) -> str:
        """Two sentences."""
        row = self.metrics.iloc[0]
        return (
            f"{len(self.fixed)} people fixed, {len(self.broken)} broken, of {len(self.persons)}. "
            f"{row['metric']} {100 * row['before']:.1f} to {100 * row['after']:.1f}: "
            f"{100 * row['delta']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})."
        )

    def __repr__(self) -> str:
        return f"<Comparison {self.before.bundle.name}: {self.text}>"

    def _repr_html_(self) -> str:
        table = self.labels.to_html()
        note = "People by label, before (rows) and after (columns)"
        return f"<p>{html.escape(self.text)}</p><p>{note}</p>{table}"


def compare(before: ErrorAnalysis, after: ErrorAnalysis) -> Comparison:
    """Compare two analyses of the same data.

    Raises:
        DataError: they are of different people, or were made with different thresholds or draws.
    """
    first, second = before.bundle, after.bundle
    same = np.array_equal(first.image_ids, second.image_ids) and np.array_equal(
        first.people.annotation_id, second.people.annotation_id
    )
    if not same or not np.array_equal(first.evaluated, second.evaluated):
        raise DataError(
            "Both analyses must be of the same people on the same images. "
            f"Got {first.name} ({len(first.image_ids)} images, {int(first.evaluated.sum())} "
            f"people) and {second.name} ({len(second.image_ids)} images, "
            f"{int(second.evaluated.sum())} people)."
        )
    if before.options != after.options:
        other = [k for k, v in before.options.json.items() if after.options.json[k] != v]
        raise DataError(
            f"Both analyses must be made with the same options. They differ in {', '.join(other)}."
        )
    return Comparison(before, after)


def _interval(draws: Any, confidence: float) -> tuple[Any, Any]:
    """Low and high of each column; NaN without draws."""
    if not len(draws):
        nothing = np.full(draws.shape[1], np.nan)
        return nothing, nothing
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return low, high
