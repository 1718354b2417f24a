"""What the pipeline asks of a programming language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from crlhf.schema import Verdict

if TYPE_CHECKING:
    import numpy as np


class Fault(NamedTuple):
    """A program with one fault: its code, the line the fault lies in, and the kind of the fault."""

    code: str
    line_no: int
    kind: str


class Line(NamedTuple):
    """A judgeable line without its layout. `depth` is its indentation level where that means something, else -1."""

    line_no: int
    depth: int
    tokens: tuple[str, ...]


class BrokenLines(NamedTuple):
    """Lines that a verdict alone shows to be wrong, and how it shows: `syntax` or `traceback`."""

    line_nos: tuple[int, ...]
    method: str


class Language(Protocol):
    """A language that programs can be written in. A module with these names is one; it is text in, text out.

    How a problem's checks are run is said in `crlhf.evaluation.sandbox`, the only place where a program runs.
    """

    @property
    def name(self) -> str:
        """The value of the column `language` of PROBLEMS."""

    @property
    def is_layout_free(self) -> bool:
        """True: line breaks mean nothing, so two programs are compared token by token."""

    @property
    def fault_kinds(self) -> tuple[str, ...]:
        """Every kind that `possible_faults` may name."""

    def judgeable_lines(self, code: str, /) -> list[int]:
        """The 1-based numbers of the lines that are judged, ascending: neither blank nor comment only."""

    def find_entry_point(self, code: str, tests: Iterable[str], /) -> str:
        """The name by which the checks reach what `code` makes; raises SyntaxError or ValueError without one."""

    def possible_faults(self, code: str, /) -> list[Fault]:
        """Every single fault that can be made in `code`, by line; each changes one judgeable line and no other."""

    def renamed(self, code: str, rng: np.random.Generator, /) -> str | None:
        """The same program under other names, or None when it has no name that is free to change."""

    def plain_lines(self, code: str, /) -> list[Line]:
        """The judgeable lines as tokens without layout, comments and choices that mean nothing."""

    def free_names(self, code: str, entry_point: str, /) -> set[str]:
        """Names, as they stand in `plain_lines`, that `code` could as well call otherwise."""

    def broken_lines(self, code: str, verdict: Verdict, entry_point: str, /) -> BrokenLines | None:
        """The lines that a syntax error or an exception points at, or None when the verdict points at none."""

    def shape_tokens(self, code: str, /) -> Sequence[str]:
        """Tokens with names of the program's own made alike, to find programs that are the same in other words."""
