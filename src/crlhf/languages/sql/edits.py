"""A script whose tokens can be replaced by text, within one line."""

from __future__ import annotations

from typing import NamedTuple

from crlhf.languages.sql.names import free_names, tables
from crlhf.languages.sql.tokens import Token, statements, tokens_of


class Edit(NamedTuple):
    """Characters `start` to `end` of the script become `text`; they lie on `line_no`; `kind` names the fault."""

    start: int
    end: int
    text: str
    line_no: int
    kind: str


class Script(NamedTuple):
    """A script with its tokens, comments left out.

    `texts` are its statements. `own` are names that it gives itself and tables that it reads, in small letters.
    """

    code: str
    tokens: list[Token]
    texts: list[str]
    own: frozenset[str]

    @staticmethod
    def of(code: str) -> Script:
        """The script in the text `code`."""
        tokens = tokens_of(code)
        texts = [code[part[0].start : part[-1].end] for part in statements(tokens, code)]
        return Script(code, tokens, texts, frozenset(free_names(code, "") | tables(tokens)))

    def is_at(self, at: int, *words: str) -> bool:
        """True when the tokens from `at` on are these keywords or operators."""
        if at < 0 or at + len(words) > len(self.tokens):
            return False
        return all(self.tokens[at + i].is_one_of(word) for i, word in enumerate(words))

    def replace(self, at: int, text: str, kind: str, n: int = 1) -> Edit:
        """Put `text` in the place of `n` tokens."""
        first, last = self.tokens[at], self.tokens[at + n - 1]
        return Edit(first.start, last.end, self._in_case(at, text), first.line_no, kind)

    def drop(self, at: int, kind: str, n: int = 1) -> Edit:
        """Take out `n` tokens and the blanks after them."""
        first, last = self.tokens[at], self.tokens[at + n - 1]
        end = last.end
        while self.code[end : end + 1] == " ":
            end += 1
        return Edit(first.start, end, "", first.line_no, kind)

    def insert_before(self, at: int, text: str, kind: str) -> Edit:
        """Put `text` and a blank before a token."""
        token = self.tokens[at]
        return Edit(token.start, token.start, self._in_case(at, text) + " ", token.line_no, kind)

    def insert_after(self, at: int, text: str, kind: str) -> Edit:
        """Put a blank and `text` after a token."""
        token = self.tokens[at]
        return Edit(token.end, token.end, f" {text}", token.line_no, kind)

    def depth_end(self, at: int) -> int:
        """Index of the bracket that closes the one at `at`; the number of tokens when none does."""
        depth = 0
        for i in range(at, len(self.tokens)):
            depth += (self.tokens[i].text == "(") - (self.tokens[i].text == ")")
            if depth == 0:
                return i
        return len(self.tokens)

    def apply(self, edit: Edit) -> str | None:
        """The script with `edit` made, or None when it is the same or reaches over a line's end."""
        replaced = self.code[edit.start : edit.end]
        if "\n" in replaced or "\n" in edit.text or replaced == edit.text:
            return None
        return self.code[: edit.start] + edit.text + self.code[edit.end :]

    def _in_case(self, at: int, text: str) -> str:
        """Keywords as the script writes them: in small letters beside a word in small letters."""
        token = self.tokens[at]
        return text.lower() if token.kind == "word" and token.text.islower() and text.isupper() else text
