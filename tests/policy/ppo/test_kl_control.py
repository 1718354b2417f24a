import pytest

from crlhf.policy.ppo.kl_control import KLControl, adapted
from tests.policy.ppo.tiny import make_params


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.1),  # at the target
        (6.6, 0.1 * (1 + 0.1 * 64 / 1000)),  # a tenth above it
        (60.0, 0.1 * (1 + 0.2 * 64 / 1000)),  # the error is clipped at a fifth
        (0.0, 0.1 * (1 - 0.2 * 64 / 1000)),
    ],
)
def test_the_coefficient_follows_ziegler_equation_4(kl, expected):
    assert adapted(0.1, kl, 64, target=6.0, horizon=1000) == pytest.approx(expected, rel=1e-12)


def test_it_is_never_negative():
    assert adapted(0.1, 0.0, 10**6, target=6.0, horizon=1000) == 0.0


def test_a_round_weighs_its_steps_by_their_completions_and_forgets_them():
    control = KLControl(0.2)
    control.see(kl_sum=12.0, n_completions=4)
    control.see(kl_sum=0.0, n_completions=2)
    params = make_params(kl_control="adaptive", kl_target=1.0, kl_horizon=60.0, kl_coef=0.2)
    control.end_round(params)
    # mean KL 2, twice the target: error clipped at 0.2, six completions of a horizon of 60
    assert control == KLControl(0.2 * 1.02)
    control.end_round(params)
    assert control == KLControl(0.2 * 1.02)


def test_a_fixed_coefficient_stays():
    control = KLControl(0.2, kl_sum=50.0, n_seen=1)
    control.end_round(make_params())
    assert control == KLControl(0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_control": "adaptive", "kl_coef": 0.0},
        {"kl_target": 6.0, "max_kl": 5.0, "kl_control": "adaptive"},
        {"max_length_drift": 0.0},
        {"entropy_coef": -0.1},
        {"fine_tuning": "half"},
        {"reward_placement": "first_token"},
    ],
)
def test_values_out_of_bounds_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        make_params(**changes)
