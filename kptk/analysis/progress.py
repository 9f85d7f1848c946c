"""A progress bar for the one part that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar of so many draws; gives what to call with each number done.

    Args:
        total: of draws.
        wanted: whether to show it (``KPTK_PROGRESS=0`` hides it too).
    """
    from tqdm.auto import tqdm

    from kptk.download import show_progress

    hidden = not (wanted and show_progress())
    with tqdm(total=total, unit=" draws", desc="intervals", disable=hidden, leave=False) as bar:

        def count(done: int) -> None:
            bar.update(done)

        yield count
