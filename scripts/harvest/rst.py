"""Docstrings as their authors lay them out: the paragraphs of running text.

This reads what numpydoc, Google style, Hugging Face's Markdown and spaCy's own style have in
common. It is not a renderer: a block that is not running text (code, tables, formulas, lists of
references) is left out, and so is everything that depends on another file.
"""

import inspect
import re
from typing import Iterator, List, Optional, Tuple


def read_paragraphs(docstring: str) -> Iterator[Tuple[str, str]]:
    """Cut a docstring into paragraphs of running text.

    docstring (str): The docstring as written.
    YIELDS (Tuple[str, str]): The kind, "prose" or "field" (the description of a parameter or of a
        returned value), and the paragraph on one line, still with its inline markup.
    """
    lines = [line.rstrip() for line in inspect.cleandoc(docstring).expandtabs().splitlines()]
    yield from _Blocks(lines, "prose")


_UNDERLINE = re.compile(r"^([=\-~^\"'*#+_`])\1{2,}$")
_BULLET = re.compile(r"^([*+•-]|#\.|\(?\d{1,2}[.)]|\(?[a-z]\)) +(?=\S)")
_DIRECTIVE = re.compile(r"^\.\. (?P<name>[\w:-]+):: *(?P<argument>.*)$")
_FIELD_ROLE = re.compile(r"^:(?P<name>[a-z]+)(?: [^:]*)?: *(?P<text>.*)$")
_BROKEN_WORD = re.compile(r"(?<=[a-z])-\n(?=[a-z])(?!and |or |to )")
# But not a role that happens to begin a line.
_FIELD_START = re.compile(r"^:(?![\w:]+:`)")
_TABLE = re.compile(r"^(\+[-=+]{3,}|\|.*\||[=-]{2,}( +[=-]{2,})+)$")
_CODE = re.compile(r"^(>>>|\.\.\. |In \[\d*\]:|Out\[\d*\]:|\$ |%)")
# "axis (int, *optional*): The axis." as Google style, Hugging Face and spaCy write it.
_GOOGLE_FIELD = re.compile(
    r"^\*{0,2}`{0,2}[\w.*]+(?:, \*{0,2}[\w.]+)*`{0,2} *"
    r"\((?:[^()]|\([^()]*\))*\) *:(?: +(?P<text>.*))?$"
)
# Without a space before the colon: "axis : int" is numpydoc's term, and its type is not prose.
_BARE_FIELD = re.compile(r"^\*{0,2}`{0,2}[\w.*]+`{0,2}: +(?P<text>.*)$")

_ADMONITIONS = re.compile(r"(note|warning|important|tip|hint|caution|attention|admonition)$")
_FIELD_ROLES = re.compile(r"(param|parameter|arg|returns?|yields?|raises?|var)$")
# What a header says about the text below it. Other headers are titles of running text.
_SECTIONS = {
    "field": re.compile(
        r"((other |keyword )?(parameters?|arg(ument)?s?)|kwargs|returns?|yields|receives|raises|"
        r"warns|warnings|attributes|properties|inputs|outputs|members|fields|methods)$"
    ),
    "prose": re.compile(
        r"(notes?|explanation|description|details|warning|background|overview|summary|caution|"
        r"important|tips?|discussion|algorithm|motivation|remarks|theory)$"
    ),
    "skip": re.compile(
        r"((sample |code )?examples?( usage| use)?|references?|see( also)?|shapes?|(sample )?usage|"
        r"todo|bibliography|doctest|tests|supported (hardware|platforms)|copyright|license|"
        r"authors?|links|contents|variables|input|output)$"
    ),
}


class _Blocks:
    """Iterates over the paragraphs of some lines; `kind` is that of running text in them."""

    def __init__(self, lines: List[str], kind: str) -> None:
        self.lines = lines
        self.kind = kind
        self.at = 0

    def __iter__(self) -> Iterator[Tuple[str, str]]:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            text = line.strip()
            if not text:
                self.at += 1
            elif text.startswith("```"):
                self._skip_fence(text)
            elif self._is_header():
                self.kind = _section_kind(text) or "prose"
                self.at += 2
            elif text.startswith("..") and (text == ".." or text[2] in " _"):
                yield from self._directive(text)
            elif text.endswith(":") and _section_kind(text[:-1]):
                self.at += 1
                yield from self._nested(_section_kind(text[:-1]) or "prose", _indent(line))
            elif _CODE.match(text) or _TABLE.match(text):
                self._skip_to_blank()
            else:
                yield from self._paragraph()

    def _is_header(self) -> bool:
        if self.at + 1 >= len(self.lines):
            return False
        line, below = self.lines[self.at], self.lines[self.at + 1]
        return bool(_UNDERLINE.match(below.strip())) and _indent(line) == _indent(below)

    def _is_deeper(self, indent: int) -> bool:
        return self.at < len(self.lines) and _indent(self.lines[self.at]) > indent

    def _skip_fence(self, opening: str) -> None:
        self.at += 1
        if opening.count("```") == 1:
            while self.at < len(self.lines) and "```" not in self.lines[self.at]:
                self.at += 1
            self.at += 1

    def _skip_to_blank(self) -> None:
        while self.at < len(self.lines) and self.lines[self.at].strip():
            self.at += 1

    def _take_body(self, indent: int) -> List[str]:
        """The lines from here on that are blank or deeper than `indent`."""
        start = self.at
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.strip() and _indent(line) <= indent:
                break
            self.at += 1
        return self.lines[start : self.at]

    def _nested(self, kind: str, indent: int) -> Iterator[Tuple[str, str]]:
        body = self._take_body(indent)
        if kind != "skip" and self.kind != "skip":
            yield from _Blocks(body, kind)

    def _directive(self, text: str) -> Iterator[Tuple[str, str]]:
        indent = _indent(self.lines[self.at])
        directive = _DIRECTIVE.match(text)
        self.at += 1
        body = self._take_body(indent)
        if directive and _ADMONITIONS.match(directive.group("name")) and self.kind != "skip":
            # The admonition's title is not a sentence; a note's first words may stand beside it.
            titled = directive.group("name") == "admonition"
            first = "" if titled else directive.group("argument")
            depth = min((_indent(line) for line in body if line.strip()), default=0)
            yield from _Blocks([" " * depth + first, *body], "prose")

    def _paragraph(self) -> Iterator[Tuple[str, str]]:
        indent = _indent(self.lines[self.at])
        lines = [self.lines[self.at].strip()]
        kind, first, is_item = self._opening(lines[0])
        self.at += 1
        if kind == "field" and len(first.split()) <= 2 and self._is_deeper(indent):
            # "Graph: Graph" over its description: a name and a type.
            return
        while self.at < len(self.lines):
            line = self.lines[self.at]
            text = line.strip()
            if not text or text.startswith("```") or _CODE.match(text) or _BULLET.match(text):
                break
            if _indent(line) < indent or (is_item and _indent(line) <= indent):
                break
            if _indent(line) > indent and not is_item:
                if len(lines) == 1:
                    # A term and its definition: the term is a name or a signature.
                    return
                break
            if self._is_header() or _GOOGLE_FIELD.match(text) or _FIELD_START.match(text):
                break
            lines.append(text)
            self.at += 1
        paragraph = _BROKEN_WORD.sub("-", "\n".join([first, *lines[1:]])).replace("\n", " ").strip()
        if paragraph.endswith("::"):
            paragraph = paragraph[:-1]
            self._take_body(indent)
        if paragraph and kind != "skip" and self.kind != "skip":
            yield kind, paragraph

    def _opening(self, text: str) -> Tuple[str, str, bool]:
        """The kind of a paragraph, its first line without marker, and whether it may hang."""
        bullet = _BULLET.match(text)
        if bullet:
            kind, first, _ = self._opening(text[bullet.end() :])
            return kind, first, True
        role = _FIELD_ROLE.match(text)
        if role and not role.group("text").startswith("`"):
            kind = "field" if _FIELD_ROLES.match(role.group("name")) else "skip"
            return kind, role.group("text"), True
        field = _GOOGLE_FIELD.match(text) or (self.kind == "field" and _BARE_FIELD.match(text))
        if field:
            return "field", field.group("text") or "", True
        return self.kind, text, False


def _section_kind(title: str) -> Optional[str]:
    name = title.lower().strip(" :*`")
    return next((kind for kind, names in _SECTIONS.items() if names.match(name)), None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
