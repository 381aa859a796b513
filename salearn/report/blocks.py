"""The pieces of a page: text, tables, figures, pictures. What they hold is already words."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Text:
    """Paragraphs, then a list."""

    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    kind: str = "text"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of words.

    Attributes:
        name: of its LaTeX file.
        fixed: how many columns at the left are text; the others are numbers.
        stack: on a phone a row may become a list of "column: value"; not so for a matrix.
    """

    name: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    fixed: int = 1
    note: str = ""
    stack: bool = True
    kind: str = "table"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as a data URI."""

    data: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Drawings side by side where there is room, below each other on a phone."""

    pictures: Sequence[Picture]
    caption: str
    kind: str = "figures"


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Small pictures in rows. `size` is "thumb" or "panel"."""

    title: str
    pictures: Sequence[Picture]
    size: str = "thumb"
    kind: str = "gallery"


Block = Text | Heading | Table | Figures | Gallery


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with its own line in the list of contents."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def svg_uri(text: bytes) -> str:
    """An SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(text).decode()


def png_uri(data: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()
