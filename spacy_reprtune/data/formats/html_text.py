"""Extract the visible text of an HTML document, with offsets as Label Studio counts them."""

from bisect import bisect_left, bisect_right
from html.parser import HTMLParser
from itertools import pairwise
from typing import List, Tuple

from ..record import Span

_BLOCKS = frozenset(
    "address article aside blockquote br dd div dl dt figure footer form h1 h2 h3 h4 h5 h6 header "
    "hr li main nav ol p pre section table tbody td tfoot th thead tr ul".split()
)
_HIDDEN = ("script", "style")


class VisibleText(HTMLParser):
    """The text nodes of a document, and the same text with line ends between blocks.

    nodes (str): All text nodes joined. Offsets refer to this text.
    text (str): The same text with a line end where a block begins or ends without white space.
    """

    def __init__(self, document: str) -> None:
        """document (str): HTML."""
        super().__init__(convert_charrefs=True)
        self._parts: List[str] = []
        self._length = 0
        self._hidden = 0
        self._border = False
        # Offsets in the nodes before which a line end is inserted.
        self._breaks: List[int] = []
        self.feed(document)
        self.close()
        self.nodes = "".join(self._parts)
        cuts = [0, *self._breaks, len(self.nodes)]
        self.text = "\n".join(self.nodes[a:b] for a, b in pairwise(cuts))

    def map_spans(self, spans: List[Span]) -> List[Span]:
        """RETURNS (List[Span]): Spans of `nodes` as spans of `text`."""
        return [
            (start + bisect_right(self._breaks, start), end + bisect_left(self._breaks, end), label)
            for start, end, label in spans
        ]

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, object]]) -> None:
        """tag (str): Name of the element that begins."""
        self._hidden += tag in _HIDDEN
        self._border = self._border or tag in _BLOCKS

    def handle_endtag(self, tag: str) -> None:
        """tag (str): Name of the element that ends."""
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        self._border = self._border or tag in _BLOCKS

    def handle_data(self, data: str) -> None:
        """data (str): A text node."""
        if self._hidden or not data:
            return
        before = self._parts[-1][-1:] if self._parts else " "
        if self._border and not before.isspace() and not data[0].isspace():
            self._breaks.append(self._length)
        self._border = False
        self._parts.append(data)
        self._length += len(data)
