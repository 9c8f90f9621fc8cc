"""Pictures inside of a page, in its colours, light and dark."""

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, Sequence

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What pictures are drawn in: these colours where they are files, and in a page the colour that the
# page has for each of them.
SERIES = (
    "#1f4e9c",
    "#c2410c",
    "#2f855a",
    "#8b3fa8",
    "#b7791f",
    "#0e7490",
    "#b83280",
    "#4d5d72",
)
INK, MUTED, FAINT, SOFT = "#000000", "#6b7280", "#d9dee7", "#9aa5b8"
_VARIABLES = {
    **{colour: f"--series-{i + 1}" for i, colour in enumerate(SERIES)},
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--line",
    SOFT: "--soft",
    # Of matplotlib's own grid and legend.
    "#b0b0b0": "--soft",
    "#cccccc": "--line",
    "#ffffff": "--paper",
}
# Inches: as large as a phone's screen, so that text keeps a size that can be read there.
SIZE = (4.3, 3.2)
MARKERS = "osD^vPX*"


def series_colour(number: int) -> str:
    """RETURNS (str): The colour of a series; after the last one they begin again."""
    return SERIES[number % len(SERIES)]


def series_marker(number: int) -> str:
    """RETURNS (str): The marker of a series, so that nobody has to tell colours apart."""
    return MARKERS[number % len(MARKERS)]


@contextmanager
def page_style() -> Iterator[None]:
    """What figures for a page are drawn and saved in: text stays text, and is never a formula."""
    import matplotlib

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

    figure (Figure): Drawn in `page_style`.
    name (str): Unlike that of any other figure of the page: ids begin with it.
    label (str): What it shows, for those who can't see it.
    RETURNS (Markup): The element. It refers to nothing outside of itself.
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
    svg = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda m: f"var({_VARIABLES[m[0]]})" if m[0] in _VARIABLES else m[0],
        svg,
    )
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1sans-serif", svg)
    # The page says how wide it is; the view box keeps its shape.
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(label)}" ', 1))


def thin(values: Sequence[float], limit: int = 200) -> Sequence[int]:
    """RETURNS (Sequence[int]): Which points of a long line to draw, ends included."""
    if len(values) <= limit:
        return range(len(values))
    return sorted({round(i * (len(values) - 1) / (limit - 1)) for i in range(limit)})
