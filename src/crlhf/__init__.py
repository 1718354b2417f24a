"""cRLHF: align code-generating language models with crowds.

Annotators mark the wrong lines of generated programs; Bayes' rule turns their verdicts into an aligned score, without a
reward model; PPO tunes the policy on that score; HumanEval and MBPP say whether it helped.

The package is a house of rooms in pipeline order: `annotations`, `crowd`, `reliability`, `rewards`, `policy`,
`evaluation`. A room imports the core (`schema`, `params`, `lines`, `errors`), never another room. `stages` join them.
"""

__version__ = "0.1.0"
