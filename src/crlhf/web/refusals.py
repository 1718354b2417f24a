"""What the page refuses, with the HTTP status and one sentence for the person who asked."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that cannot be granted; nothing was changed."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
