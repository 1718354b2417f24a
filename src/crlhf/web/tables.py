"""Tables of the page's own database. Times are seconds since 1970, UTC; tokens are kept as SHA-256 only.

The answer key is not here: the page knows which items are honeypots, never which of their lines are wrong.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 1
"""Of this layout; a database of another version is refused."""

metadata = MetaData()


def _text(name: str, size: int = 64) -> Column[str]:
    return Column(name, String(size), nullable=False)


settings = Table(
    "settings",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
"""`version`, `is_paused`."""

items = Table(
    "items",
    metadata,
    Column("completion_id", String(64), primary_key=True),
    _text("round_name"),
    _text("problem_id", 128),
    Column("code", JSON, nullable=False),  # a string; JSON holds NUL, which PostgreSQL's text does not
    _text("code_sha256"),
    Column("line_nos", JSON, nullable=False),
    Column("is_honeypot", Boolean, nullable=False),
    _text("language", 32),
    Column("description", JSON, nullable=False),
    Column("examples", JSON, nullable=False),
    Column("is_open", Boolean, nullable=False),  # False: it left the items, or its round is over
    Column("n_wanted", Integer, nullable=False),  # verdicts
    Column("n_taken", Integer, nullable=False),  # verdicts and leases that run
    Column("shuffle", Float, nullable=False),  # fixed random place among items with the same n_taken
)
Index("items_by_need", items.c.is_honeypot, items.c.is_open, items.c.n_taken, items.c.shuffle)

annotators = Table(
    "annotators",
    metadata,
    Column("annotator_id", String(32), primary_key=True),
    _text("state", 16),  # invited | active | revoked
    _text("label", 80),  # the operator's own note; never leaves the page
    Column("invited_at", Float, nullable=False),
    Column("joined_at", Float),
    Column("guide_at", Float),
    Column("trained_at", Float),
    Column("work_started_at", Float),  # of the present sitting
    Column("seen_at", Float),
    Column("order_seed", Integer, nullable=False),  # of the order in which items come
    Column("n_assigned", Integer, nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("annotator_id", String(32), ForeignKey("annotators.annotator_id"), nullable=False, index=True),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    _text("role", 16),  # annotator | operator
    Column("subject", String(64), nullable=False, index=True),
    Column("expires_at", Float, nullable=False),
)

operators = Table(
    "operators",
    metadata,
    Column("name", String(64), primary_key=True),
    _text("key_sha256"),
    Column("created_at", Float, nullable=False),
)

practice = Table(
    "practice",
    metadata,
    Column("annotator_id", String(32), ForeignKey("annotators.annotator_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("wrong_line_nos", JSON, nullable=False),
    Column("answered_at", Float, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("lease_id", String(32), primary_key=True),
    Column("annotator_id", String(32), ForeignKey("annotators.annotator_id"), nullable=False),
    Column("completion_id", String(64), ForeignKey("items.completion_id"), nullable=False),
    Column("position", Integer, nullable=False),  # 0, 1, ... in the annotator's order
    Column("started_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("is_running", Boolean, nullable=False),  # False: expired or answered; its item is free for others
    UniqueConstraint("annotator_id", "completion_id"),
)
Index("leases_by_end", leases.c.is_running, leases.c.expires_at)

answers = Table(
    "answers",
    metadata,
    Column("answer_no", Integer, primary_key=True, autoincrement=True),
    Column("idempotency_key", String(64), nullable=False),
    Column("annotator_id", String(32), ForeignKey("annotators.annotator_id"), nullable=False),
    Column("completion_id", String(64), ForeignKey("items.completion_id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    _text("status", 16),  # submitted | skipped
    Column("wrong_line_nos", JSON, nullable=False),
    _text("error_type", 40),
    Column("comment", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("submitted_at", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("cost", Float, nullable=False),
    Column("collection_id", String(32), index=True),  # null: not collected yet
    UniqueConstraint("annotator_id", "completion_id"),
    UniqueConstraint("annotator_id", "idempotency_key"),
)

collections = Table(
    "collections",
    metadata,
    Column("collection_id", String(32), primary_key=True),
    Column("claimed_at", Float, nullable=False),
    Column("file", String(200)),  # null: claimed, and not known to be written
)

audit = Table(
    "audit",
    metadata,
    Column("event_no", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    _text("actor"),  # an annotator_id, operator:<name>, command line, or nobody
    _text("action", 40),
    _text("subject"),
    Column("detail", Text, nullable=False),
)
