"""Aggregation on simulated look-alikes of public binary crowd sets, beside crowd-kit's DawidSkene with gold.

    python benchmarks/lookalikes.py --crowd-kit DIR [--seeds 5]     # DIR as in benchmarks/aggregation.py
    python benchmarks/lookalikes.py --crowd-kit DIR --page 20 --clustering 0.0 0.1 0.3
    python benchmarks/lookalikes.py --crowd-kit DIR --page 20 --one-answer 0.3

Nothing here is a public data set: only sizes, class balance and difficulty are like theirs. Tasks have two hidden
dimensions, of which one is the truth with noise and the other misleads; annotators weigh both and have a bias; 12 % are
spammers and 3 % adversaries (the model of Welinder et al. 2010, "The Multidimensional Wisdom of Crowds"). So errors
hang together on hard tasks, which no aggregation method here assumes. One task in ten is gold.

With `--page` tasks are shown in pages, each to the same annotators, and `--clustering` is the correlation of the truths
within a page (beta-binomial): at 0 a method that looks at a whole page has nothing to gain and something to lose. With
`--one-answer` annotators give that share of their pages the same answer throughout, which looks like clustering.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from aggregation import Data, crowd_kit, door, ours
from scipy.special import expit


class Shape(NamedTuple):
    """What a set is like: annotators, tasks, labels a task, share of class 1, skill, and difficulty."""

    annotators: int
    tasks: int
    per_task: int
    share: float
    skill: float
    difficulty: float


SHAPES = {
    "everyone judges everything": Shape(39, 108, 39, 0.44, 1.0, 1.1),
    "textual entailment": Shape(164, 800, 10, 0.5, 1.8, 0.8),
    "temporal order": Shape(76, 462, 10, 0.56, 1.9, 0.7),
    "word senses, nearly always right": Shape(34, 177, 10, 0.75, 3.0, 0.5),
    "product matching, 12 % positive": Shape(176, 8315, 3, 0.12, 1.6, 1.0),
    "sentiment": Shape(85, 1000, 20, 0.53, 2.0, 1.0),
    "many annotators, few labels": Shape(400, 1000, 4, 0.3, 1.5, 0.8),
    "hard": Shape(40, 300, 6, 0.4, 0.8, 1.3),
}
METHODS = ("dawid_skene", "one_coin_dawid_skene", "honeypot_beta")


class Pages(NamedTuple):
    """Tasks shown together, correlation of their truths, and share of an annotator's pages that get one answer."""

    size: int = 1
    clustering: float = 0.0
    one_answer: float = 0.0


def draw(shape: Shape, seed: int, pages: Pages) -> Data:
    rng = np.random.default_rng([seed, shape.tasks])
    on_page = np.arange(shape.tasks) // pages.size
    share = np.full(on_page[-1] + 1, shape.share)
    if pages.clustering > 0:
        counts = (1 - pages.clustering) / pages.clustering
        share = rng.beta(counts * shape.share, counts * (1 - shape.share), len(share))
    truth = (rng.random(shape.tasks) < share[on_page]).astype(np.int8)
    noise = shape.difficulty * rng.normal(size=(2, shape.tasks))
    hidden = np.stack([2 * truth - 1 + 0.8 * noise[0], noise[1]], 1)
    skill = np.abs(rng.normal(shape.skill, 0.4 * shape.skill, shape.annotators))
    weights = np.stack([skill, skill * rng.normal(0, 0.5, shape.annotators)], 1)
    bias, kind = rng.normal(0, 0.6, shape.annotators), rng.random(shape.annotators)
    weights[kind < 0.12] = 0
    bias[kind < 0.12] = rng.choice([-4.0, 0.0, 0.0, 4.0], int((kind < 0.12).sum()))
    weights[(kind >= 0.12) & (kind < 0.15)] *= -1
    activity = np.log(rng.gamma(0.6, 1, shape.annotators) + 0.02)
    order = np.argsort(-(activity + rng.gumbel(size=(len(share), shape.annotators))), 1)[on_page]
    worker, task = order[:, : shape.per_task].ravel(), np.repeat(np.arange(shape.tasks), shape.per_task)
    says_one = rng.random(len(task)) < expit((hidden[task] * weights[worker]).sum(1) + bias[worker])
    if pages.one_answer > 0:
        lazy, answer = rng.random((2, len(share), shape.annotators))
        on = (on_page[task], worker)
        says_one = np.where(lazy[on] < pages.one_answer, answer[on] < shape.share, says_one)
    gold = np.sort(rng.permutation(shape.tasks)[: max(2, shape.tasks // 10)])
    table = pd.DataFrame({"task": task, "worker": worker, "label": says_one.astype(np.int8)})
    return Data(table, pd.Series(truth)[gold], truth)


def measures(p: np.ndarray, data: Data) -> np.ndarray:
    """Accuracy and log-loss of the tasks that are not gold, probabilities clipped at 1e-10."""
    free = np.ones(len(p), bool)
    free[data.gold.index] = False
    p, truth = np.clip(p[free], 1e-10, 1 - 1e-10), data.truth[free]
    return np.array([np.mean((p > 0.5) == truth), -np.log(np.where(truth == 1, p, 1 - p)).mean()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crowd-kit", help="folder that crowd-kit is installed in")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", type=int, default=1, help="tasks shown together, to the same annotators")
    parser.add_argument("--clustering", type=float, nargs="+", default=[0.0], help="of the truths on a page")
    parser.add_argument("--one-answer", type=float, default=0.0, help="share of pages that get a single answer")
    args = parser.parse_args()
    if not args.crowd_kit:
        print("nothing to compare with: name the folder of crowd-kit with --crowd-kit")
        return
    sys.path.append(args.crowd_kit)
    warnings.filterwarnings("ignore")
    for clustering in args.clustering:
        compare(args.seeds, Pages(args.page, clustering, args.one_answer))


def compare(seeds: int, pages: Pages) -> None:
    """Print the table of one kind of pages."""
    shown = f"; {pages.size} tasks a page, clustering {pages.clustering}, one answer {pages.one_answer}"
    shown = "" if pages == Pages() else shown
    print(f"\nsimulated look-alikes, mean of {seeds} seeds: accuracy / log-loss{shown}")
    names = (*METHODS, "crlhf aggregate")
    print(f"{'':34s}{'crowd-kit, gold':>18s}" + "".join(f"{name:>24s}" for name in names))
    means = []
    for name, shape in SHAPES.items():
        found = []
        for seed in range(seeds):
            data = draw(shape, seed, pages)
            posteriors = [crowd_kit(data, "DawidSkene", True), *(ours(data, method) for method in METHODS), door(data)]
            found.append([measures(p, data) for p in posteriors])
        mean = np.mean(found, 0)  # (methods, 2)
        means.append(mean)
        cells = [f"{accuracy:.3f} / {loss:.3f}" for accuracy, loss in mean]
        print(f"{name:34s}{cells[0]:>18s}" + "".join(f"{cell:>24s}" for cell in cells[1:]), flush=True)
    total = np.mean(means, 0)
    ratios = total / total[0]
    cells = [f"{accuracy:.3f} x / {loss:.3f} x" for accuracy, loss in ratios]
    print(f"{'mean, times that of crowd-kit':34s}{cells[0]:>18s}" + "".join(f"{cell:>24s}" for cell in cells[1:]))


if __name__ == "__main__":
    main()
