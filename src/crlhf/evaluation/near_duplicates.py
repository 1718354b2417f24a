"""Problems that are too much like a benchmark problem to train on.

Training on a benchmark problem in other words would make its score worthless. Each problem is compared with each
benchmark problem twice, by description and by reference program, and the larger similarity counts: a thief may rewrite
the one and keep the other.

    raw(x, y)        = cos(terms of x, terms of y)                            in [0, 1]
    calibrated(r)    = r / (2 m)                      for r <= m
                     = 1/2 + (r - m) / (2 (1 - m))    for r >  m
    similarity(x, y) = max(calibrated description, calibrated code)

`m` is the raw similarity from which two problems are taken for the same, so a calibrated similarity of 0.5 means the
same for both kinds of evidence. It was measured on MBPP. At 0.5, 99 % of the 427 pairs of a problem and its edition in
the reworded, sanitized MBPP are found (84 % by the description alone, 90 % by the code alone), and 0.1 % of the pairs
of different problems of MBPP, which are mostly repeats and siblings (the surface of a cone, of a cylinder); of the
pairs of a HumanEval and an MBPP problem, 0.01 %. The raw code similarity of programs of fewer than 10 tokens is shrunk
in proportion: `return len(x)` proves nothing.

Departs from the paper: the paper has no such check.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crlhf.evaluation.code_shingles import code_shingles
from crlhf.evaluation.description_terms import description_terms
from crlhf.languages import get_language

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from scipy import sparse

_SAME_DESCRIPTION = 0.55
_SAME_CODE = 0.8
_TELLING_TOKENS = 10
_EXAMPLES = re.compile(r">>>|\bexamples?\b\s*:?|\bfor example\b", re.IGNORECASE)


class NearDuplicate(NamedTuple):
    """A problem and a benchmark problem that are too similar, with the calibrated similarities that say so."""

    problem_id: str
    benchmark_id: str
    similarity: float
    description_similarity: float
    code_similarity: float


class Similarities(NamedTuple):
    """Calibrated similarities in [0, 1] of P problems (rows) and B benchmark problems (columns), each (P, B)."""

    description: NDArray[np.float64]
    code: NDArray[np.float64]


def near_duplicates(problems: pd.DataFrame, benchmarks: pd.DataFrame, threshold: float) -> list[NearDuplicate]:
    """Pairs of a problem and a benchmark problem whose similarity is `threshold` or more, the most similar first.

    Args:
        problems: table PROBLEMS; a row that also stands in `benchmarks` is found like any other.
        benchmarks: table PROBLEMS.
        threshold: calibrated similarity in [0, 1]; 0.5 is where the two kinds of evidence are calibrated.

    Returns:
        The pairs, sorted by falling similarity, then by ids; none when either table is empty.
    """
    found = similarities(problems, benchmarks)
    largest = np.maximum(found.description, found.code)
    rows, columns = np.nonzero(largest >= threshold)
    problem_ids, benchmark_ids = problems["problem_id"].tolist(), benchmarks["problem_id"].tolist()
    pairs = [
        NearDuplicate(
            problem_ids[row],
            benchmark_ids[column],
            float(largest[row, column]),
            float(found.description[row, column]),
            float(found.code[row, column]),
        )
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.problem_id, pair.benchmark_id))


def similarities(problems: pd.DataFrame, benchmarks: pd.DataFrame) -> Similarities:
    """Calibrated similarities of all pairs of `problems` and `benchmarks`, both tables PROBLEMS.

    A description or a program without any term is similar to nothing, not even to another empty one.
    """
    description = _cosines(
        [description_terms(text) for text in _descriptions(problems)],
        [description_terms(text) for text in _descriptions(benchmarks)],
    )
    tokens, others = _shapes(problems), _shapes(benchmarks)
    code = _cosines([code_shingles(part) for part in tokens], [code_shingles(part) for part in others])
    code = code * np.minimum(1.0, np.minimum.outer(_lengths(tokens), _lengths(others)) / _TELLING_TOKENS)
    return Similarities(_calibrated(description, _SAME_DESCRIPTION), _calibrated(code, _SAME_CODE))


def _shapes(problems: pd.DataFrame) -> list[Sequence[str]]:
    """The tokens of each reference program, names of its own made alike."""
    rows = zip(problems["language"].tolist(), problems["reference"].tolist(), strict=True)
    return [get_language(language).shape_tokens(code) for language, code in rows]


def _descriptions(problems: pd.DataFrame) -> list[str]:
    """What each problem asks for, less its examples: the prompt, or the documentation string in a prompt of code."""
    columns = ("kind", "prompt", "reference", "entry_point")
    rows = zip(*(problems[name].tolist() for name in columns), strict=True)
    texts = [prompt if kind == "description" else _docstring(prompt, code, name) for kind, prompt, code, name in rows]
    return [_EXAMPLES.split(text, maxsplit=1)[0].strip() or text for text in texts]


def _docstring(prompt: str, reference: str, entry_point: str) -> str:
    """The entry point's documentation string; the whole prompt where none is found."""
    try:
        tree = ast.parse(reference)
    except (SyntaxError, ValueError):
        return prompt
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = [node for node in tree.body if isinstance(node, kinds) and node.name == entry_point]
    return (ast.get_docstring(named[0]) if named else None) or prompt


def _lengths(lists: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    return np.array([len(tokens) for tokens in lists], dtype=np.float64)


def _cosines(left: Sequence[dict[str, float]], right: Sequence[dict[str, float]]) -> NDArray[np.float64]:
    """Cosine of every pair of term vectors, (len(left), len(right)); 0 where one is empty."""
    vocabulary = {term: at for at, term in enumerate(sorted(set().union(*left, *right)))}
    if not vocabulary:
        return np.zeros((len(left), len(right)))
    product: NDArray[np.float64] = (_unit_rows(left, vocabulary) @ _unit_rows(right, vocabulary).T).toarray()
    return np.clip(product, 0.0, 1.0)


def _unit_rows(vectors: Sequence[dict[str, float]], vocabulary: dict[str, int]) -> sparse.csr_matrix:
    """The vectors as rows of length 1, terms in the order of the vocabulary so that sums round alike everywhere."""
    from scipy import sparse

    starts, columns, values = [0], [], []
    for vector in vectors:
        length = float(np.sqrt(sum(vector[term] ** 2 for term in sorted(vector))))
        for term in sorted(vector):
            columns.append(vocabulary[term])
            values.append(vector[term] / length)
        starts.append(len(columns))
    return sparse.csr_matrix((values, columns, starts), shape=(len(vectors), len(vocabulary)))


def _calibrated(raw: NDArray[np.float64], same: float) -> NDArray[np.float64]:
    """Stretch raw similarities so that `same` becomes 0.5, with 0 and 1 where they are."""
    return np.where(raw <= same, raw / (2 * same), 0.5 + (raw - same) / (2 * (1 - same)))
