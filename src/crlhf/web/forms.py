"""The forms that the page reads: every field with its type and its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crlhf.web.answers import Submission

Token = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
AnnotatorId = Annotated[str, Field(pattern=r"^a_[0-9a-f]{16}$")]
LineNo = Annotated[int, Field(ge=1, le=100_000)]
Ticked = Literal["1"]


def _clean(text: str) -> str:
    """Newlines as they are kept; characters that no database holds are left out."""
    return text.replace("\r\n", "\n").replace("\0", "")


Text = Annotated[str, AfterValidator(_clean)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class JoinForm(_Form):
    """An invitation's token, from the page that it was opened on."""

    token: Token


class LinesForm(_Form):
    """Marked lines, or the word that none is wrong."""

    line: Annotated[list[LineNo], Field(max_length=2000)] = []
    nothing: Ticked | None = None


class AnswerForm(LinesForm):
    """An answer to the open item."""

    lease_id: Hex32
    idempotency_key: Hex32
    skip: Ticked | None = None
    error_type: Annotated[Text, Field(max_length=40)] = ""
    comment: Annotated[Text, Field(max_length=2000)] = ""
    active_s: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)] | None = None

    def submission(self) -> Submission:
        """The answer as the store takes it."""
        return Submission(
            self.lease_id,
            self.idempotency_key,
            tuple(self.line),
            is_nothing_wrong=self.nothing is not None,
            is_skipped=self.skip is not None,
            error_type=self.error_type,
            comment=self.comment.strip(),
            active_s=self.active_s,
        )


class SignInForm(_Form):
    """An operator's name and key."""

    name: Annotated[Text, Field(min_length=1, max_length=64)]
    key: Annotated[Text, Field(min_length=1, max_length=200)]


class InviteForm(_Form):
    """How many people to invite, and a note for the operator's own eyes."""

    n: Annotated[int, Field(ge=1, le=200)]
    label: Annotated[Text, Field(max_length=80)] = ""


class PauseForm(_Form):
    """Whether work is given out."""

    paused: Literal["yes", "no"]


class DeleteForm(_Form):
    """The annotator's id once more, so that nobody is deleted by a slip."""

    confirm: Annotated[str, Field(max_length=64)]
