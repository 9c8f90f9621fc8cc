"""Progress bars: on a terminal alone, on stderr, gone when they are done."""

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
    what (Optional[str]): What is being done.
    unit (str): Of what is counted.
    total (Optional[int]): How many there will be; None if nobody knows, which shows no time left.
    shown (bool): Whether to show it. Where stderr is no terminal it never is: a log of carriage
        returns helps nobody.
    **settings: As tqdm has them.
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
