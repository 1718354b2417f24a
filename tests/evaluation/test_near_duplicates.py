import itertools
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crlhf.evaluation.code_shingles import code_shingles
from crlhf.evaluation.description_terms import description_terms, words
from crlhf.evaluation.near_duplicates import near_duplicates, similarities
from crlhf.evaluation.problems import load_humaneval, load_mbpp, load_starter
from crlhf.languages.python import shape_tokens
from crlhf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "mbpp"
THRESHOLD = load_params(ROOT / "params.yaml").problems.near_duplicate_threshold


def problem(problem_id, prompt, reference="", kind="description", entry_point="f"):
    return {
        "problem_id": problem_id,
        "kind": kind,
        "prompt": prompt,
        "reference": reference,
        "entry_point": entry_point,
    }


def frame(*rows):
    return pd.DataFrame(rows, columns=["problem_id", "kind", "prompt", "reference", "entry_point"]).assign(
        language="python"
    )


def sanitized(path):
    rows = json.loads(path.read_text(encoding="utf-8"))
    return frame(*(problem(f"reworded/{row['task_id']}", row["prompt"], row["code"]) for row in rows))


def benchmark_folder():
    """The folder with both editions of MBPP on this machine, or None."""
    folders = [ROOT / folder for folder in load_params(ROOT / "params.yaml").problems.benchmark_folders]
    if setting := os.environ.get("CRLHF_BENCHMARKS_DIR"):
        folders.insert(0, Path(setting))
    names = ("mbpp.jsonl", "sanitized-mbpp.json")
    return next((folder for folder in folders if all((folder / name).is_file() for name in names)), None)


needs_benchmarks = pytest.mark.skipif(benchmark_folder() is None, reason="no folder holds both editions of MBPP")


@pytest.fixture(scope="module")
def starter():
    return load_starter(ROOT / "data" / "starter" / "problems.jsonl")


@pytest.fixture(scope="module")
def humaneval():
    return load_humaneval()


@pytest.fixture(scope="module")
def mbpp():
    return load_mbpp(benchmark_folder() / "mbpp.jsonl")


@pytest.fixture(scope="module")
def sample():
    return load_mbpp(FIXTURES / "mbpp-sample.jsonl")


def partner_mask(left, right):
    """True where the two ids end in the same number: the same problem in two editions."""
    numbers = [[name.split("/")[1] for name in table["problem_id"]] for table in (left, right)]
    return np.array(numbers[0])[:, None] == np.array(numbers[1])[None, :]


def test_reworded_problems_of_the_sample_are_flagged_and_different_ones_are_not(sample):
    reworded = sanitized(FIXTURES / "sanitized-sample.json")
    found = similarities(reworded, sample)
    flagged = np.maximum(found.description, found.code) >= THRESHOLD
    is_pair = partner_mask(reworded, sample)
    assert is_pair.sum() == 80
    assert flagged[is_pair].mean() >= 0.95  # measured on all 427 pairs: 0.99
    assert flagged[~is_pair].mean() <= 0.002  # 10 of 6480: four are MBPP's own repeats, six are siblings


@needs_benchmarks
def test_nine_of_ten_pairs_of_mbpp_and_its_sanitized_edition_are_flagged(mbpp):
    reworded = sanitized(benchmark_folder() / "sanitized-mbpp.json")
    found = similarities(reworded, mbpp)
    flagged = np.maximum(found.description, found.code) >= THRESHOLD
    is_pair = partner_mask(reworded, mbpp)
    assert is_pair.sum() == 427
    assert flagged[is_pair].mean() >= 0.98
    assert (found.description >= THRESHOLD)[is_pair].mean() >= 0.83  # when the thief rewrites the code
    assert (found.code >= THRESHOLD)[is_pair].mean() >= 0.88  # when the thief rewrites the description
    assert flagged[~is_pair].mean() <= 0.0015


@needs_benchmarks
def test_mbpp_and_humaneval_share_few_problems(humaneval, mbpp):
    # the two benchmarks have different authors; what is flagged are classics such as Fibonacci and the gcd
    pairs = near_duplicates(humaneval, mbpp, THRESHOLD)
    assert len(pairs) / (164 * 974) <= 0.0002


def test_starter_set_has_no_near_duplicate_in_humaneval(starter, humaneval):
    assert near_duplicates(starter, humaneval, THRESHOLD) == []


@needs_benchmarks
def test_starter_set_has_no_near_duplicate_in_mbpp(starter, mbpp):
    assert near_duplicates(starter, mbpp, THRESHOLD) == []


def test_every_humaneval_problem_finds_itself_as_a_description(humaneval):
    # a thief takes the docstring as the description and writes another program
    stolen = humaneval.assign(kind="description", reference="")
    stolen["prompt"] = [re.split("\"\"\"|'''", prompt)[-2] for prompt in humaneval["prompt"]]
    pairs = {(pair.problem_id, pair.benchmark_id) for pair in near_duplicates(stolen, humaneval, THRESHOLD)}
    assert all((name, name) in pairs for name in humaneval["problem_id"])


def test_renamed_and_reformatted_program_is_the_same_program():
    one = "def total(xs, k):\n    out = 0\n    for x in xs:\n        if x > k:\n            out += x\n    return out\n"
    other = (
        "from typing import List\n\n\ndef g(values: List[int], limit: int) -> int:\n"
        '    """Adds."""\n    s=0  # the sum\n    for v in values:\n\n        if (v>limit): s += v\n    return (s)\n'
    )
    pairs = near_duplicates(frame(problem("a/1", "", one)), frame(problem("b/1", "", other)), 1.0)
    assert [(pair.problem_id, pair.benchmark_id) for pair in pairs] == [("a/1", "b/1")]
    assert pairs[0].code_similarity == pytest.approx(1.0, abs=1e-12)
    assert pairs[0].description_similarity == 0.0


def test_inflected_and_filler_words_do_not_hide_a_description():
    one = frame(problem("a/1", "Write a function to sort the given planets by their masses."))
    other = frame(problem("b/1", "Write a python function that is sorting a given planet by mass."))
    # their telling words are `sort planet their mass` and `sort planet mass`
    assert similarities(one, other).description[0, 0] > 0.5


def test_cosine_of_descriptions_matches_the_formula_worked_by_hand():
    # words: {zebra, quokka} and {zebra, okapi}; no word is common, so each weighs w = -log(0.02), and each pair of
    # neighbours 0.7 w. Both vectors have squared length 2 w^2 + 0.49 w^2; they share w^2: raw = 1 / 2.49.
    one, other = frame(problem("a/1", "zebra quokka")), frame(problem("b/1", "zebra okapi"))
    # 0.4016 lies below the 0.55 that is calibrated to 0.5
    assert similarities(one, other).description[0, 0] == pytest.approx(1 / 2.49 / 1.1, rel=1e-12)


def test_short_programs_prove_little():
    # `def V V return len V` has 6 tokens of the 10 that count in full: raw 1 becomes 0.6, calibrated 0.6 / 1.6
    one, other = "def size(x):\n    return len(x)\n", "def n_items(bag):\n    return len(bag)\n"
    found = similarities(frame(problem("a/1", "", one)), frame(problem("b/1", "", other)))
    assert found.code[0, 0] == pytest.approx(0.375, rel=1e-12)


def test_similarity_depends_on_the_pair_only(starter, sample):
    whole = similarities(starter, sample)
    for row, column in itertools.product((0, 40, 75), (3, 50)):
        alone = similarities(starter.iloc[[row]], sample.iloc[[column]])
        assert alone.description[0, 0] == pytest.approx(whole.description[row, column], abs=1e-12)
        assert alone.code[0, 0] == pytest.approx(whole.code[row, column], abs=1e-12)


def test_similarity_is_symmetric(sample):
    found = similarities(sample, sample)
    np.testing.assert_allclose(found.description, found.description.T, atol=1e-12)
    np.testing.assert_allclose(found.code, found.code.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(found.description), 1.0, atol=1e-12)


def test_pairs_come_most_similar_first_then_by_id():
    text = "Write a function to weigh penguins on icebergs."
    problems = frame(problem("a/2", text), problem("a/1", text), problem("a/3", text + " Quickly, and in silence."))
    pairs = near_duplicates(problems, frame(problem("b/1", text)), 0.3)
    assert [pair.problem_id for pair in pairs] == ["a/1", "a/2", "a/3"]
    assert pairs[0].similarity == pairs[1].similarity > pairs[2].similarity


def test_empty_tables_descriptions_and_programs_match_nothing():
    nothing = frame(problem("a/1", "", ""), problem("a/2", "Write a function.", "# only a comment"))
    assert near_duplicates(nothing, nothing, 0.01) == []
    assert near_duplicates(frame(), nothing, 0.01) == []
    assert near_duplicates(nothing, frame(), 0.01) == []
    assert similarities(frame(), nothing).code.shape == (0, 2)


def test_header_is_compared_by_its_docstring_without_examples():
    header = 'def f(x):\n    """ Paint the walrus green.\n    >>> f(1)\n    Paint 7\n    """\n'
    one = frame(problem("a/1", header, header + "    return x\n", kind="header"))
    other = frame(problem("b/1", "Paint the walrus green."))
    assert similarities(one, other).description[0, 0] == pytest.approx(1.0, abs=1e-12)


def test_program_that_does_not_parse_is_compared_by_its_text():
    assert shape_tokens("print x if y") == ["print", "V", "if", "V"]
    assert shape_tokens("def f(a):\n    return sorted(a)[0]") == [
        "def",
        "V",
        "V",
        "return",
        "sorted",
        "V",
        "[",
        "0",
        "]",
    ]


def test_own_names_are_masked_and_foreign_ones_kept():
    code = "import re\n\n\ndef find(text):\n    hit = re.search('a', text)\n    return hit.group()\n"
    assert shape_tokens(code) == (
        ["def", "V", "V", "V", "=", "re", ".", "search", "'a'", "V", "return", "V", ".", "group"]
    )


def test_shingles_are_runs_of_three_to_five_tokens():
    # ^ a b $ has two runs of three and one of four
    assert code_shingles(["a", "b"]) == {"^ a b": 1.0, "a b $": 1.0, "^ a b $": 1.0}
    assert code_shingles([]) == {}


def test_words_lose_their_endings_and_fillers():
    assert words("Write a function to find the Strings, sorted and stopping; see https://x.org/find") == (
        ["find", "string", "sort", "stop", "see"]
    )
    assert words("the n'th and the n-th number") == ["nth", "nth", "number"]


def test_common_words_weigh_less_than_rare_ones():
    # `find` stands in 357 of 1000 descriptions, `walrus` in none, which counts as 20 of 1000
    terms = description_terms("find walrus walrus")
    assert terms["find"] == pytest.approx(-math.log(0.357))
    assert terms["walrus"] == pytest.approx(-math.log(0.02) * math.sqrt(2))
    assert terms["find walrus"] == pytest.approx(0.7 * math.sqrt(math.log(0.357) * math.log(0.02)))
