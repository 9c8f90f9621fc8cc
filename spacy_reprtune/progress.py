"""Progress bars: only on a terminal, on stderr, gone when they are done."""

import sys
from typing import Any, Iterable, Optional

from tqdm import tqdm


def on_terminal() -> bool:
    """RETURNS (bool): Whether somebody sees a bar."""
    return sys.stderr.isatty()


def bar(
    items: Optional[Iterable[Any]] = None,
    *,
    what: Optional[str] = None,
    unit: str,
    total: Optional[int] = None,
    shown: bool = True,
    **settings: Any,
) -> tqdm:
    """Make a progress bar with the time left.

    items (Optional[Iterable[Any]]): What to count while it is read, or None to call `update`.
    what (Optional[str]): Name of the work, in front of the bar.
    unit (str): Unit of what is counted.
    total (Optional[int]): Number of items; None if unknown, then no time left is shown.
    shown (bool): Whether to show it. It is never shown where stderr is not a terminal: a log
        of carriage returns helps nobody.
    **settings: More settings of tqdm.
    RETURNS (tqdm): The bar, to loop over or to update.
    """
    # None is tqdm's word for "only on a terminal".
    disable = None if shown else True
    return tqdm(
        items,
        desc=what,
        total=total,
        unit=f" {unit}",
        leave=False,
        disable=disable,
        dynamic_ncols=True,
        **settings,
    )
