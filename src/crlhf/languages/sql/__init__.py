"""SQL as SQLite speaks it: judged by its tokens, spoilt in the text of one line."""

from crlhf.languages.sql.broken_lines import broken_lines
from crlhf.languages.sql.faults import FAULT_KINDS, possible_faults
from crlhf.languages.sql.lines import judgeable_lines, plain_lines
from crlhf.languages.sql.names import RESULT, find_entry_point, free_names, renamed, shape_tokens

__all__ = [
    "RESULT",
    "broken_lines",
    "fault_kinds",
    "find_entry_point",
    "free_names",
    "is_layout_free",
    "judgeable_lines",
    "name",
    "plain_lines",
    "possible_faults",
    "renamed",
    "shape_tokens",
]

name = "sql"
is_layout_free = True
fault_kinds = FAULT_KINDS
