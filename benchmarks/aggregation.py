"""Aggregation beside crowd-kit: quality on simulated crowds, speed and memory at 1e5, 1e6 and 1e7 labels.

    pip install --target DIR crowd-kit==1.4.2 nltk transformers   # not a dependency of the project
    python benchmarks/aggregation.py quality --crowd-kit DIR [--seeds 5] [--annotators 200 2000]
    python benchmarks/aggregation.py speed --crowd-kit DIR [--labels 100000 1000000 10000000] [--iterations 10]

Honeypots (10 % of completions, 2 % of the adversarial crowd) are gold for every method; accuracy, log-loss
(probabilities clipped at 1e-10, crowd-kit's own floor) and expected calibration error (15 equal bins) are of all other
lines. `bound` is the posterior under the true parameters before the crowd breaks the model, lines independent; `gap` is
the share of the log-loss between crowd-kit's DawidSkene with gold and that bound that a method closes. `exact Bayes` is
what is left when the annotators' true prior is known but not their rates: no method that takes lines as independent can
do better on average. `crlhf aggregate` is the same estimator where lines that were shown together tell of each other,
which it finds out from the labels alone. RMSE is that of aligned scores.
Each measurement of time and memory runs in a process of its own; memory is what the peak adds to the tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from exact_bayes import PRIORS, exact_bayes

from crlhf.crowd.generators import KINDS, GeneratedCrowd, generate
from crlhf.reliability import METHODS, aggregate_labels, dawid_skene
from crlhf.reliability.crowd_prior import CrowdPrior
from crlhf.reliability.diagnostics import calibration_of
from crlhf.reliability.labels import code_table
from crlhf.stages.crowd_labels import aggregate_tables


class Data(NamedTuple):
    labels: pd.DataFrame
    gold: pd.Series
    truth: np.ndarray


def as_table(crowd: GeneratedCrowd) -> Data:
    labels = pd.DataFrame(
        {
            "task": crowd.labels["line"].to_numpy(),
            "worker": crowd.labels["annotator"].to_numpy(),
            "label": crowd.labels["is_marked"].to_numpy().astype(np.int8),
        }
    )
    truth = crowd.lines["is_wrong"].to_numpy().astype(np.int8)
    return Data(labels, pd.Series(truth)[crowd.lines["is_honeypot"].to_numpy()], truth)


def aligned(frame: pd.Series, n_lines: int) -> np.ndarray:
    return frame.reindex(range(n_lines)).to_numpy(float)


def ours(data: Data, method: str) -> np.ndarray:
    return aligned(
        aggregate_labels(data.labels, data.gold, method=method).posteriors.set_index("task")["probability"],
        len(data.truth),
    )


def door(data: Data) -> np.ndarray:
    """What the command `crlhf aggregate` writes."""
    found = aggregate_tables(data.labels, data.gold)[0].posteriors
    return aligned(found.set_index("task")["probability"], len(data.truth))


def crowd_kit(data: Data, name: str, with_gold: bool) -> np.ndarray:
    from crowdkit.aggregation import DawidSkene, MajorityVote, OneCoinDawidSkene

    if name == "MajorityVote":
        frame = MajorityVote().fit_predict_proba(data.labels)
    else:
        model = {"DawidSkene": DawidSkene, "OneCoinDawidSkene": OneCoinDawidSkene}[name](n_iter=100)
        frame = model.fit_predict_proba(data.labels, data.gold) if with_gold else model.fit_predict_proba(data.labels)
    return aligned(frame[1], len(data.truth))


def bound(crowd: GeneratedCrowd) -> np.ndarray:
    sens = np.clip(crowd.annotators["sensitivity"].to_numpy(float), 1e-6, 1 - 1e-6)
    spec = np.clip(crowd.annotators["specificity"].to_numpy(float), 1e-6, 1 - 1e-6)
    who, is_marked = crowd.labels["annotator"].to_numpy(), crowd.labels["is_marked"].to_numpy()
    weight = np.where(is_marked, np.log(sens / (1 - spec))[who], np.log((1 - sens) / spec)[who])
    share = crowd.lines["is_wrong"].mean()
    log_odds = np.log(share / (1 - share)) + np.bincount(crowd.labels["line"], weight, minlength=len(crowd.lines))
    return 1 / (1 + np.exp(-log_odds))


def measures(p: np.ndarray, crowd: GeneratedCrowd) -> np.ndarray:
    free = ~crowd.lines["is_honeypot"].to_numpy() & ~np.isnan(p)
    truth, p = crowd.lines["is_wrong"].to_numpy()[free], np.clip(p[free], 1e-10, 1 - 1e-10)
    found = calibration_of(p, truth)
    completion = crowd.lines["completion"].to_numpy()[free]
    error = pd.Series(p - truth).groupby(completion).mean()
    return np.array([np.mean((p > 0.5) == truth), found.log_loss, found.ece, np.sqrt(np.mean(error**2))])


def quality(kinds: list[str], n_labels: int, annotators: list[int], seeds: int, skip: list[str]) -> None:
    methods: dict[str, Callable[[Data], np.ndarray]] = {
        "crowd-kit DawidSkene, gold": lambda d: crowd_kit(d, "DawidSkene", True),
        "crowd-kit OneCoinDawidSkene": lambda d: crowd_kit(d, "OneCoinDawidSkene", False),
        "crowd-kit MajorityVote": lambda d: crowd_kit(d, "MajorityVote", False),
        **{method: (lambda d, m=method: ours(d, m)) for method in METHODS},
        "crlhf aggregate": door,
        "dawid_skene, no gold": lambda d: ours(d._replace(gold=d.gold[:0]), "dawid_skene"),
    }
    methods = {name: method for name, method in methods.items() if name not in skip}
    for kind in kinds:
        for n_annotators in [30] if kind == "adversarial" else annotators:
            size = 10_000 if kind == "adversarial" else n_labels
            found: dict[str, list[np.ndarray]] = {}
            for seed in range(seeds):
                crowd = generate(kind, size, n_annotators, seed)
                data = as_table(crowd)
                found.setdefault("bound", []).append(measures(bound(crowd), crowd))
                if kind in PRIORS:
                    found.setdefault("exact Bayes", []).append(measures(exact_bayes(crowd, kind, seed), crowd))
                for name, method in methods.items():
                    found.setdefault(name, []).append(measures(method(data), crowd))
            print(f"\n{kind}, {n_annotators} annotators, {size:.0e} labels, mean of {seeds} seeds")
            print(f"{'':36s} accuracy  log-loss     ECE    RMSE     gap")
            best = np.mean(found["bound"], 0)[1]
            reference = np.mean(found["crowd-kit DawidSkene, gold"], 0)[1]
            for name, values in found.items():
                mean = np.mean(values, 0)
                gap = (reference - mean[1]) / (reference - best)
                print(
                    f"{name:36s} {mean[0]:8.4f}  {mean[1]:8.4f}  {mean[2]:6.4f}  {mean[3]:6.4f}  {gap:6.2f}", flush=True
                )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(work: Callable[[Data], Any], data: Data) -> tuple[float, float]:
    """Seconds and added MiB of `work`."""
    pipe, end = multiprocessing.get_context("fork").Pipe()

    def child() -> None:
        before, start = peak_mib(), time.perf_counter()
        work(data)
        end.send((time.perf_counter() - start, peak_mib() - before))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    found: tuple[float, float] = pipe.recv()
    process.join()
    return found


def fit_ours(data: Data, coins: int, iterations: int) -> None:
    coded = code_table(data.labels, data.gold)
    prior = CrowdPrior((4, 2), (2, 1), (2, 1), coins)
    dawid_skene.fit(coded.labels, prior, temperature=1.0, max_iterations=iterations, tolerance=0.0)


def fit_crowd_kit(data: Data, name: str, iterations: int) -> None:
    from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene

    if name == "DawidSkene":
        DawidSkene(n_iter=iterations, tol=-np.inf).fit(data.labels, data.gold)
    else:  # takes no gold
        OneCoinDawidSkene(n_iter=iterations, tol=-np.inf).fit(data.labels)


def speed(sizes: list[int], annotators: list[int], iterations: int, largest_beside: int) -> None:
    if largest_beside:
        import crowdkit.aggregation  # noqa: F401
    import scipy.optimize
    import scipy.stats  # noqa: F401

    print(f"coding included; {iterations} iterations where said, else to convergence; seconds and added MiB")
    for n_labels in sizes:
        for n_annotators in annotators:
            data = as_table(generate("two_coin", n_labels, n_annotators, 0))
            rows: dict[str, Callable[[Data], Any]] = {
                "dawid_skene, equal iterations": lambda d: fit_ours(d, 2, iterations),
                "one_coin, equal iterations": lambda d: fit_ours(d, 1, iterations),
                "crlhf aggregate, without files": lambda d: aggregate_tables(d.labels, d.gold),
            }
            if n_labels <= largest_beside:
                rows["crowd-kit DawidSkene"] = lambda d: fit_crowd_kit(d, "DawidSkene", iterations)
                rows["crowd-kit OneCoinDawidSkene"] = lambda d: fit_crowd_kit(d, "OneCoinDawidSkene", iterations)
            print(f"\n{n_labels:.0e} labels, {n_annotators} annotators")
            for name, work in rows.items():
                seconds, mib = in_own_process(work, data)
                print(f"{name:34s} {seconds:9.2f} s {mib:9.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("quality", "speed"), nargs="?", default="speed")
    parser.add_argument("--crowd-kit", help="folder that crowd-kit is installed in; without it `speed` is ours alone")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--annotators", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--labels", nargs="+", type=int, default=None)
    parser.add_argument("--skip", nargs="+", default=[], help="methods left out of `quality`")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--largest-beside", type=int, default=1_000_000, help="most labels that crowd-kit is run on")
    args = parser.parse_args()
    if args.crowd_kit:
        sys.path.append(args.crowd_kit)
    elif args.what == "quality":
        parser.error("quality is measured beside crowd-kit: name its folder with --crowd-kit")
    if args.what == "quality":
        quality(args.kinds, (args.labels or [100_000])[0], args.annotators, args.seeds, args.skip)
    else:
        speed(
            args.labels or [100_000, 1_000_000, 10_000_000],
            args.annotators,
            args.iterations,
            args.largest_beside * bool(args.crowd_kit),
        )


if __name__ == "__main__":
    main()
