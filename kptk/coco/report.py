"""What a look at a data set found: findings, reports, and how they show themselves."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ERROR = "error"
WARNING = "warning"
REPAIRED = "repaired"
_ORDER = {ERROR: 0, REPAIRED: 1, WARNING: 2}
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in a data set.

    Attributes:
        code: its stable name, e.g. ``"box-negative-size"``.
        severity: ``"error"``: numbers would be wrong, or programs fail; ``"repaired"``: an error
            in the file that does no harm any more, since what was loaded has it mended;
            ``"warning"``: may be meant, should be looked at.
        of: what ``ids`` are: ``"image"``, ``"annotation"``, ``"file"``, ``"joint"``, ``"pair"``
            or ``"category"``.
        ids: all of them, worst first where there is a worst.
        sentence: what was found, and for repairs what was done.
        advice: what to do about it.
    """

    code: str
    severity: str
    of: str
    ids: tuple[Any, ...]
    sentence: str
    advice: str = ""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ids)

    @property
    def json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "of": self.of,
            "ids": [list(i) if isinstance(i, tuple) else i for i in self.ids],
            "sentence": self.sentence,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        return (
            f"{self.severity.upper():<8}  {self.code} ({self.count}): {self.sentence} "
            f"{self.of.capitalize()} {first_ids(self.ids)}. {self.advice}".rstrip()
        )


@dataclass(frozen=True)
class DataReport:
    """What a look at one annotation file, and its images, found.

    Attributes:
        title: what was looked at, e.g. ``"day val"``.
        looked_at: ``"records"`` (the annotation file), ``"files"`` (also that the images are
            there) or ``"pictures"`` (also every picture's content).
        findings: errors first, then repairs, then warnings.
        statistics: counts, sizes and label balance; see :func:`kptk.coco.statistics.describe`.
    """

    title: str
    looked_at: str
    findings: tuple[Finding, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make numbers wrong or programs fail and are not mended."""
        return self._of(ERROR)

    @property
    def repairs(self) -> tuple[Finding, ...]:
        """Errors of the file that what was loaded has mended."""
        return self._of(REPAIRED)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may be meant."""
        return self._of(WARNING)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def _of(self, severity: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "title": self.title,
            "looked_at": self.looked_at,
            "findings": [finding.json for finding in self.findings],
            "statistics": dict(self.statistics),
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a finding: ``code, severity, count, of, ids, sentence, advice``."""
        import pandas as pd

        columns = ["code", "severity", "count", "of", "ids", "sentence", "advice"]
        return pd.DataFrame([finding.json for finding in self.findings], columns=columns)

    def __repr__(self) -> str:
        return "\n".join([f"{self.title}: {self.summary}", *map(str, self.findings)])

    @property
    def summary(self) -> str:
        """The counts in one line."""
        counts = [
            f"{len(found)} {word}{'s' * (len(found) != 1)}"
            for found, word in (
                (self.errors, "error"), (self.repairs, "repair"), (self.warnings, "warning")
            )
        ]  # fmt: skip
        verdict = ", ".join(counts) if self.findings else "nothing to complain about"
        return f"{verdict} (looked at {self.looked_at})"

    def _repr_html_(self) -> str:
        head = f"<p><b>{html.escape(self.title)}</b>: {html.escape(self.summary)}</p>"
        return head + findings_table(self.findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then repairs, then warnings; otherwise in the order found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def findings_table(findings: Iterable[Finding]) -> str:
    """Findings as an HTML table; empty text for none."""
    rows = [
        "<tr>"
        + "".join(
            f'<td style="text-align:left">{html.escape(str(cell))}</td>'
            for cell in (
                finding.severity, finding.code, finding.count,
                f"{finding.sentence} {finding.advice}".rstrip(),
                f"{finding.of} {first_ids(finding.ids)}",
            )
        )
        + "</tr>"
        for finding in findings
    ]  # fmt: skip
    heads = "".join(f"<th>{name}</th>" for name in ("", "code", "count", "what", "which"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>" * bool(
        rows
    )


def first_ids(ids: Iterable[Any]) -> str:
    """The first few, as text."""
    names = ["=".join(map(str, i)) if isinstance(i, tuple) else str(i) for i in ids]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def title_of(path: Path, split: str | None) -> str:
    """How a data set is called in texts, without the machine's folders."""
    return f"{path.name} {split}" if split else path.name
