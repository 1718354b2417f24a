"""The weight of the KL penalty over a run: fixed, or moved so that the KL comes near a target."""

from __future__ import annotations

from dataclasses import dataclass

from crlhf.params import PPOParams

_STEP = 0.2


@dataclass
class KLControl:
    """`kl_coef` as it is now, and the KL that the running epoch has shown so far; all of it is in a checkpoint.

    Attributes:
        coef: weight of the KL penalty in the rewards of the current round.
        kl_sum: KL of the completions of the round's last epoch that were seen so far, in nats.
        n_seen: how many those are.
    """

    coef: float
    kl_sum: float = 0.0
    n_seen: float = 0.0

    def see(self, kl_sum: float, n_completions: float) -> None:
        """Take in one step of a round's last epoch: the sum of its completions' KL, and their number."""
        self.kl_sum += kl_sum
        self.n_seen += n_completions

    def end_round(self, params: PPOParams) -> None:
        """Set the coefficient of the next round from the KL that was seen, and forget it."""
        if params.kl_control == "adaptive" and self.n_seen:
            self.coef = adapted(
                self.coef, self.kl_sum / self.n_seen, self.n_seen, target=params.kl_target, horizon=params.kl_horizon
            )
        self.kl_sum = self.n_seen = 0.0


def adapted(coef: float, kl: float, n_completions: float, *, target: float, horizon: float) -> float:
    """The coefficient after a round of `n_completions` whose KL was `kl`.

    Equation: `coef * (1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon)`. Source: Ziegler et al., arXiv:1909.08593,
    eq. 4; in the form of its released code and of TRL's `AdaptiveKLController`. Never below 0.

    Departs from the source: the KL is that of the policy at the end of the round (its last epoch, see
    `diagnostics.policy_kl`), where the source measures it on the samples before the update; in replay those are the
    reference's own, whose KL is 0.

    Args:
        coef: the coefficient of the round.
        kl: mean KL from the reference, in nats a completion.
        n_completions: completions of the round.
        target: the KL wanted, in the same unit.
        horizon: completions in which the coefficient may change by a fifth.
    """
    error = min(max(kl / target - 1, -_STEP), _STEP)
    return max(0.0, coef * (1 + error * n_completions / horizon))
