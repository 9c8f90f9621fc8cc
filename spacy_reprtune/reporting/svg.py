"""Figures in a page, in the colors of its light or dark scheme."""

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, Sequence

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figures are drawn in these colors. Files keep them. In a page, each is replaced by one of the
# variables below, whose value depends on the reader's color scheme.
SERIES = ("#1f4e9c", "#c2410c", "#2f855a", "#8b3fa8", "#b7791f", "#0e7490", "#b83280", "#4d5d72")
INK, MUTED, FAINT, SOFT = "#000000", "#6b7280", "#d9dee7", "#9aa5b8"
_VARIABLES = {
    **{color: f"--series-{i + 1}" for i, color in enumerate(SERIES)},
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--line",
    SOFT: "--soft",
    # matplotlib's own grid and legend.
    "#b0b0b0": "--soft",
    "#cccccc": "--line",
    "#ffffff": "--paper",
}
# In inches: the width of a phone's screen, so that text stays readable there.
SIZE = (4.3, 3.2)
MARKERS = "osD^vPX*"


def series_color(number: int) -> str:
    """RETURNS (str): The color of a series. After the last color, the first one is used again."""
    return SERIES[number % len(SERIES)]


def series_marker(number: int) -> str:
    """RETURNS (str): The marker of a series, for readers who can't tell the colors apart."""
    return MARKERS[number % len(MARKERS)]


@contextmanager
def page_style() -> Iterator[None]:
    """Set the style of figures for a page: text stays text and is never read as a formula.

    Does nothing if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        yield
        return
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "spacy-reprtune",
        "text.parse_math": False,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=SERIES),
    }
    with matplotlib.rc_context(settings):
        yield


def to_svg(figure: "Figure", name: str, *, label: str) -> Markup:
    """Turn a figure into an SVG element for a page.

    figure (Figure): A figure drawn in `page_style`.
    name (str): Prefix of all ids, unique within the page.
    label (str): What the figure shows, for readers who can't see it.
    RETURNS (Markup): The element. It has no external references.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r' xmlns(:\w+)?="[^"]*"'):
        svg = re.sub(pattern, "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'( id="|href="#|url\(#)([^")]+)', rf"\g<1>{name}-\g<2>", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1sans-serif", svg)
    # The page sets the width; the view box keeps the proportions.
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(label)}" ', 1))


def thin(values: Sequence[float], limit: int = 200) -> Sequence[int]:
    """RETURNS (Sequence[int]): Indices of the points of a long line to draw, ends included."""
    if len(values) <= limit:
        return range(len(values))
    return sorted({round(i * (len(values) - 1) / (limit - 1)) for i in range(limit)})
