"""The pairing with the greatest sum of similarities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.intp]


def best_pairs(similarity: Float, least: float) -> tuple[Index, Index]:
    """Pair rows with columns, each at most once, so that the sum of similarities is greatest.

    Args:
        similarity: (T, N), 0 or more.
        least: pairs below it are never made.

    Returns:
        Rows (P,), ascending, and their columns (P,).
    """
    weight = np.where(similarity >= least, similarity, 0.0)
    allowed = weight > 0
    if not allowed.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    columns = _columns_of(weight, allowed)
    rows = np.flatnonzero(columns >= 0)
    rows = rows[allowed[rows, columns[rows]]]
    return rows, columns[rows]


def _columns_of(weight: Float, allowed: NDArray[np.bool_]) -> Index:
    """(T,) the column of each row, -1 for none."""
    columns = np.full(len(weight), -1, np.intp)
    # most people are near one track only, whose only candidate they are: nothing to decide
    alone = allowed & (allowed.sum(axis=1, keepdims=True) == 1) & (allowed.sum(axis=0) == 1)
    rows, there = np.nonzero(alone)
    columns[rows] = there
    rows = np.flatnonzero(allowed.any(axis=1) & (columns < 0))
    there = np.flatnonzero(allowed.any(axis=0) & ~alone.any(axis=0))
    if len(rows):
        rest = weight[np.ix_(rows, there)]
        # the method wants at least as many columns: those of no worth stand for "nobody"
        padded = np.pad(rest, ((0, 0), (0, len(rows))))
        found = _hungarian(-padded)
        real = found < len(there)
        columns[rows[real]] = there[found[real]]
    return columns


def _hungarian(cost: Float) -> Index:
    """(T,) the columns of the cheapest full assignment of the rows of (T, N >= T).

    The Hungarian method with potentials, row by row along shortest paths (Kuhn 1955; Jonker and
    Volgenant 1987), the inner loop over columns as array operations.
    """
    rows, columns = cost.shape
    u, v = np.zeros(rows), np.zeros(columns + 1)
    row_of = np.full(columns + 1, -1)  # the last column stands for the row being placed
    for row in range(rows):
        row_of[columns] = row
        at, previous, u, v = _shortest_path(cost, row_of, u, v)
        while at != columns:
            row_of[at] = row_of[previous[at]]
            at = int(previous[at])
    found = np.empty(rows, np.intp)
    taken = row_of[:columns] >= 0
    found[row_of[:columns][taken]] = np.flatnonzero(taken)
    return found


def _shortest_path(
    cost: Float, row_of: Index, u: Float, v: Float
) -> tuple[int, Index, Float, Float]:
    """A free column, the column before each on the way to it, and the new potentials."""
    columns = cost.shape[1]
    least = np.full(columns, np.inf)
    previous = np.full(columns, columns)
    seen = np.zeros(columns + 1, bool)
    at = columns
    while row_of[at] >= 0:
        seen[at] = True
        row = row_of[at]
        reduced = cost[row] - u[row] - v[:columns]
        nearer = ~seen[:columns] & (reduced < least)
        least[nearer] = reduced[nearer]
        previous[nearer] = at
        at = int(np.argmin(np.where(seen[:columns], np.inf, least)))
        step = least[at]
        u[row_of[seen]] += step
        v[seen] -= step
        least[~seen[:columns]] -= step
    return at, previous, u, v
