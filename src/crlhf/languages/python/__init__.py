"""Python: judged by its syntax tree, spoilt in the text of one line."""

from crlhf.languages.python.broken_lines import broken_lines
from crlhf.languages.python.entry_point import Definition, find_entry_point
from crlhf.languages.python.faults import FAULT_KINDS, possible_faults
from crlhf.languages.python.lines import judgeable_lines
from crlhf.languages.python.plain_lines import free_names, plain_lines
from crlhf.languages.python.renaming import renamed
from crlhf.languages.python.shape import shape_tokens

__all__ = [
    "Definition",
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

name = "python"
is_layout_free = False
fault_kinds = FAULT_KINDS
