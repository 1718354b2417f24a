"""What the page refuses, with the HTTP status and one sentence for the person who asked."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that cannot be granted; nothing was changed.

    Attributes:
        status: of HTTP.
        sentence: what the person reads.
        retry_after: seconds, when waiting helps.
        sign_in: True: signing in as an operator helps.
    """

    def __init__(self, status: int, sentence: str, *, retry_after: float = 0.0, sign_in: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_after = retry_after
        self.sign_in = sign_in
