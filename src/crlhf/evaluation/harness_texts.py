"""Texts of the harnesses that the protocols reproduce: prompts, stop strings, and what has to be said of each."""

from __future__ import annotations

FENCE = "\n```"
BIGCODE_HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", FENCE, "<file_sep>")
INCODER_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", FENCE)
INCODER_TEMPLATE = '"""\n{prompt}\n{tests[0]}\n"""\n'
ORIGINAL_TEMPLATE = (
    "You are an expert Python programmer, and here is your task: {prompt} Your code should pass these tests:\n\n"
    "{tests[0]}\n{tests[1]}\n{tests[2]}\n[BEGIN]\n"
)
EVALPLUS_STOPS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
EVALPLUS_USER = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    "```\n{prompt}\n```\n"
)
EVALPLUS_ASSISTANT = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:\n"
    "```python\n"
)
EVALPLUS_LIMITS = (4.0, 4.0)
EVALPLUS_CAVEATS = (
    "EvalPlus' chat handling (0.3.1): a user turn and a pre-filled assistant turn; plain completion for a policy "
    "without a chat template. Of the answer the longest run of Python is kept, and of that what the entry point "
    "reaches. "
)
BASE_TESTS = "The tests are those of the problem table, with 4 s a program: this is not a score on plus tests."
PLUS_TESTS = (
    "The inputs of EvalPlus' file, base then plus, compared with what its reference returns, within EvalPlus' "
    "tolerances; a pass needs both. Each input has 4 x the reference's time and at least 4 s (EvalPlus' repository; "
    "its release 0.3.1 has 1 s), all together 60 s."
)
PAPER_CAVEATS = (
    "The settings of the paper's published run.sh (arXiv:2503.15129) in the bigcode harness: T=0.8, 100 samples, "
    "128 tokens, 10 s, k = 1, 10, 100, half precision, 4-bit weights for the tuned adapter. Caveats: run.sh does not "
    "show which generation script was in use, so 128 may be new tokens (as here) or prompt and completion together; "
    "the base model's own generation step is not in run.sh, so base and tuned precision may differ; the patched scorer "
    "is not public; 128 tokens cut long solutions."
)

AS_GIVEN = (
    "Samples that were written elsewhere, run as they are given: no stop strings, nothing cut. "
    "To have a policy write them, use a protocol that says how."
)
