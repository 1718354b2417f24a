import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.errors import CrlhfError
from crlhf.policy.ppo.packing import pack_responses, plan_epoch
from crlhf.policy.ppo.token_logprobs import check_plain_head, token_logprobs
from crlhf.policy.ppo.value_head import ValueHead, add_response_scores
from tests.policy.ppo.tiny import TEMPERATURE, WORDS, make_policy, plain_logprobs

PROMPTS = [[5, 6, 7], [8, 9], [5, 6, 7], [5, 6, 7], [10, 11, 12, 13]]
RESPONSES = [[2, 3, 4], [15, 16], [17], [18, 19, 20, 21, 22], [2, 2]]


def scoring_policy(head=None):
    model = make_policy()
    model.get_output_embeddings().weight.requires_grad_(False)  # tied to the input embedding
    add_response_scores(model, head or ValueHead(32, 0.0), TEMPERATURE)
    return model


def scores_of(model, prompts, responses):
    batch = pack_responses(prompts, responses, pad_id=0)
    return model(**{name: x for name, x in batch._asdict().items() if name != "n_tokens"})


def test_packed_logprobs_are_those_of_each_completion_on_its_own():
    expected = [plain_logprobs(make_policy(), p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    found = scores_of(scoring_policy(), PROMPTS, RESPONSES).logprobs
    for row, response in enumerate(RESPONSES):
        np.testing.assert_allclose(found[row, : len(response)].tolist(), expected[row], atol=2e-6)
        assert found[row, len(response) :].tolist() == [0.0] * (5 - len(response))


def test_a_shared_prompt_is_fed_once():
    batch = pack_responses(PROMPTS, RESPONSES, pad_id=0)
    # prompts 3 + 2 + 4; of each response all tokens but the last: 2 + 1 + 0 + 4 + 1
    assert batch.n_tokens == 9 + 8
    assert batch.input_ids.shape == (3, 3 + 2 + 0 + 4)


def test_changing_one_response_changes_no_other():
    model = scoring_policy()
    before = scores_of(model, PROMPTS, RESPONSES).logprobs
    changed = [*RESPONSES[:3], [2, 3, 4, 5, 6], RESPONSES[4]]
    after = scores_of(model, PROMPTS, changed).logprobs
    others = [0, 1, 2, 4]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[3], after[3])


def test_packed_gradients_are_those_of_plain_forward_passes():
    plain, packed = make_policy(), scoring_policy()
    total = 0.0
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        logits = plain(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
        total = total + torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None]).sum()
    total.backward()
    scores_of(packed, PROMPTS, RESPONSES).logprobs.sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        if "embed_tokens" not in name and "value_head" not in name:
            torch.testing.assert_close(parameter.grad, expected[name].grad, atol=2e-5, rtol=1e-4)


def test_values_come_from_the_state_before_each_token():
    model = make_policy()
    head = ValueHead(32, 0.25)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    states = [
        model.model(input_ids=torch.tensor([p + r])).last_hidden_state[0, len(p) - 1 : -1]
        for p, r in zip(PROMPTS, RESPONSES, strict=True)
    ]
    found = scores_of(scoring_policy(head), PROMPTS, RESPONSES).value_predictions
    for row, hidden in enumerate(states):
        normal = (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(found[row, : len(hidden)], normal @ head.weight + 0.25, atol=1e-5, rtol=1e-5)


def test_a_new_value_head_says_the_mean_score_everywhere():
    assert ValueHead(8, 0.9)(torch.randn(3, 5, 8)).tolist() == [[pytest.approx(0.9)] * 5] * 3


@pytest.mark.parametrize("n", [1, 128, 300])
def test_token_logprobs_match_log_softmax_in_value_and_gradient(n):
    generator = torch.Generator().manual_seed(n)
    hidden = torch.randn(n, 16, generator=generator, requires_grad=True)
    head = torch.nn.Linear(16, WORDS, bias=n == 300).requires_grad_(False)
    targets = torch.randint(0, WORDS, (n,), generator=generator)
    weights = torch.randn(n, generator=generator)
    found, entropies = token_logprobs(hidden, head, targets, 0.7)
    (found * weights).sum().backward()
    gradient, hidden.grad = hidden.grad, None
    table = torch.log_softmax(head(hidden) / 0.7, -1)
    expected = table.gather(1, targets[:, None])[:, 0]
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropies, -(table.exp() * table).sum(-1).detach())
    torch.testing.assert_close(gradient, hidden.grad)


@pytest.mark.parametrize("is_frozen", [True, False], ids=["frozen head", "trained head"])
def test_gradients_flow_from_entropies_and_into_a_trained_head(is_frozen):
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(200, 16, generator=generator, requires_grad=True)
    head = torch.nn.Linear(16, WORDS, bias=False).requires_grad_(not is_frozen)
    targets = torch.randint(0, WORDS, (200,), generator=generator)
    a, b = torch.randn(2, 200, generator=generator)
    found, entropies = token_logprobs(hidden, head, targets, 0.7, entropy_gradient=True)
    (found * a + entropies * b).sum().backward()
    gradients = [hidden.grad, head.weight.grad]
    hidden.grad = head.weight.grad = None
    table = torch.log_softmax(head(hidden) / 0.7, -1)
    (table.gather(1, targets[:, None])[:, 0] * a - (table.exp() * table).sum(-1) * b).sum().backward()
    for gradient, expected in zip(gradients, [hidden.grad, head.weight.grad], strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
    assert (head.weight.grad is None) == is_frozen


def test_a_model_that_caps_its_logits_is_refused():
    model = make_policy()
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(CrlhfError, match="final_logit_softcapping"):
        check_plain_head(model.config)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_every_completion_is_in_exactly_one_micro_batch_and_steps_are_even(problems, n_steps, n_micro, seed):
    plan = plan_epoch(problems, [7] * len(problems), n_steps, n_micro, np.random.default_rng(seed))
    assert len(plan) == n_steps * n_micro
    assert sorted(no for batch in plan for no in batch) == list(range(len(problems)))
    sizes = [sum(map(len, plan[i : i + n_micro])) for i in range(0, len(plan), n_micro)]
    assert max(sizes) - min(sizes) <= 1


def test_completions_of_a_problem_stay_together_and_the_longest_come_first():
    problems, lengths = [0, 1, 0, 1, 2, 2], [5, 9, 6, 8, 20, 3]
    plan = plan_epoch(problems, lengths, 1, 3, np.random.default_rng(0))
    assert plan == [[4, 5], [1, 3], [0, 2]]


def test_epochs_differ_in_order():
    rng = np.random.default_rng(0)
    problems = list(range(12))
    assert plan_epoch(problems, [1] * 12, 4, 1, rng) != plan_epoch(problems, [1] * 12, 4, 1, rng)
