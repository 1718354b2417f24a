import numpy as np

from crlhf.reliability import find_suspects


def crowd(make_tables, seed=0, n_programs=80, n_lines=10):
    """Ten honest annotators, and one of each suspect; everyone judges everything, half of it honeypots."""
    rng = np.random.default_rng(seed)
    truth = {f"c{n:02d}": "".join(rng.choice(["x", "-"], n_lines, p=[0.2, 0.8])) for n in range(n_programs)}
    marks = {}

    def judge(text, sens, spec):
        return "".join(
            ("x" if rng.random() < sens else "-") if mark == "x" else ("-" if rng.random() < spec else "x")
            for mark in text
        )

    for name, text in truth.items():
        for who in range(10):
            marks[f"honest{who}", name] = judge(text, 0.75, 0.95)
        marks["copies", name] = marks["honest3", name]
        marks["lazy", name] = judge(text, 0.01, 0.995)
        marks["flips", name] = judge(text, 0.5, 0.5)
        marks["liar", name] = judge(text, 0.2, 0.2)
    programs = {name: text if n % 2 else None for n, (name, text) in enumerate(truth.items())}
    return make_tables(programs, n_lines, marks)


def test_each_kind_is_found_and_nobody_else(make_tables, params):
    found = find_suspects(*crowd(make_tables), params)
    kinds = dict(zip(found["annotator_id"], found["kind"], strict=True))
    assert kinds == {
        "copies": "copying",
        "honest3": "copying",
        "flips": "random",
        "lazy": "lazy",
        "liar": "adversarial",
    }
    evidence = found.set_index("annotator_id").loc["copies", "evidence"]
    assert evidence == "agrees with honest3 on 800 of 800 common lines"


def test_an_empty_table_has_no_suspects(make_tables, params):
    assert len(find_suspects(*make_tables({"h": "-x"}, 2, {}), params)) == 0
