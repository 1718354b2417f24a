"""The base policy: any causal language model, converted once to safetensors in the shared cache, and loading it.

A converted policy lies in `policies/<policy_id>` of the cache, with a manifest of its files. `policy_id` is a hash of
the source's bytes, the dtype and the version of this conversion, so that equal ids mean equal weights on every machine.
A GGUF file is dequantised exactly: each weight is the number that its block stands for. Where it holds the output head
apart from the embeddings, both are kept, even if they were one matrix before they were quantised.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import IntegrityError, MissingInputError
from crlhf.fetch import Say, check_sha256, sha256_file
from crlhf.params import BasePolicyParams
from crlhf.policy.disk import clear_disk_errors, locked, one_line, raise_known, require_space
from crlhf.policy.weights import MODEL_FILES, find_gguf, find_hub_model
from crlhf.store import read_json, write_json

CONVERTER = 1  # to be raised when the conversion of the same bytes changes
MANIFEST = "MANIFEST.json"
_END_TOKENS = ("<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|EOT|>", "<end_of_turn>", "</s>")


class _Source(NamedTuple):
    """Where the weights come from: the hash of their bytes, a name for reports, and how to get at them."""

    sha256: str
    origin: str
    fetch: Callable[[], Path]


def prepare_base_policy(
    params: BasePolicyParams, cache: Path, say: Say, *, allow_network: bool = True
) -> dict[str, Any]:
    """See to it that the base policy of `params` lies converted and intact in `cache`.

    Two checkouts may do so at the same time: one works, the other waits. Whatever breaks off is taken up again.

    Args:
        params: `source` gguf: a file known by its sha256; hub: a Hub repository at a revision, safetensors only;
            path: a folder with safetensors, or a GGUF file (a relative path counts from the working folder).
        cache: the cache folder.
        say: told in one sentence what takes long.
        allow_network: False: only what is on this machine is used.

    Returns:
        The manifest: name, policy_id, origin, source_sha256, dtype, converter, n_parameters, and `files` by name, each
        with sha256 and size. It holds no path, and is the same on every machine.

    Raises:
        MissingInputError: the weights are not on this machine and cannot be fetched.
        IntegrityError: the bytes are not those of `sha256`, or not those of a causal language model.
        DiskFullError: source or policy do not fit on the disk.
    """
    source = _find_source(params, cache, say, allow_network=allow_network)
    key = f"{source.sha256}/{params.dtype}/{CONVERTER}"
    policy_id = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = cache / "policies" / policy_id
    with locked(folder, say):
        if not _is_intact(folder, say):
            path = source.fetch()
            with clear_disk_errors(folder):
                _convert(path, folder, params.dtype, {"policy_id": policy_id, "source_sha256": source.sha256}, say)
        manifest: dict[str, Any] = read_json(folder / MANIFEST)
    return manifest | {"name": params.name, "origin": source.origin}


def find_prepared(folder: Path, cache: Path, dtype: str) -> dict[str, Any] | None:
    """The manifest of `folder` when that is a policy which was prepared in `cache`, intact and in `dtype`; else None.

    Whoever names such a folder means that policy: it is not converted to a second copy under another id.
    """
    folder = folder.resolve()
    if folder.parent != (cache / "policies").resolve() or not (folder / MANIFEST).is_file() or _damage(folder):
        return None
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    is_it = manifest.get("dtype") == dtype and manifest.get("policy_id") == folder.name
    return manifest | {"name": folder.name, "origin": "a local folder"} if is_it else None


def policy_folder(manifest: dict[str, Any], cache: Path) -> Path:
    """The folder of the policy that `manifest` describes, after a look at its files' sizes.

    Raises:
        MissingInputError: it is not in `cache`.
        IntegrityError: a file has another size.
    """
    folder = cache / "policies" / str(manifest["policy_id"])
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise MissingInputError(
                f"{path}: no such file; the policy {manifest['name']} is not in this machine's cache, run "
                "`crlhf base_policy` to prepare it"
            )
        if path.stat().st_size != expected["size"]:
            raise IntegrityError(
                f"{path}: {path.stat().st_size} bytes, expected {expected['size']}; run `crlhf base_policy` to mend it"
            )
    return folder


def load_policy(
    folder: Path, adapter: Path | None = None, dtype: str = "float32", *, merge: bool = True
) -> tuple[Any, Any]:
    """Load a policy that was prepared, in evaluation mode; the network is never used.

    Args:
        folder: from `policy_folder`.
        adapter: folder of a LoRA adapter for it.
        dtype: name of the torch dtype.
        merge: True: the adapter is added into the weights, which is faster to sample from; False: it is kept apart, in
            a model of PEFT.

    Returns:
        Model and tokenizer.

    Raises:
        MissingInputError: a file of the adapter is not there.
        IntegrityError: policy or adapter cannot be read, or the adapter does not fit the policy.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
            )
    except Exception as error:  # transformers, tokenizers and safetensors raise errors of many kinds
        raise IntegrityError(
            f"{folder}: cannot be read as a policy ({one_line(error)}); run `crlhf base_policy` to mend it"
        ) from None
    return (model if adapter is None else _with_adapter(model, adapter, merge=merge)).eval(), tokenizer


def _with_adapter(model: Any, adapter: Path, *, merge: bool) -> Any:
    from peft import PeftModel

    for name in ("adapter_config.json", "adapter_model.safetensors"):  # PEFT would look on the Hub for a missing one
        if not (adapter / name).is_file():
            raise MissingInputError(f"{adapter / name}: no such file; run `crlhf ppo`, which makes the adapter")
    try:
        tuned = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except Exception as error:
        raise IntegrityError(f"{adapter}: this adapter cannot be put on the base policy ({one_line(error)})") from None
    return tuned.merge_and_unload() if merge else tuned


def _find_source(params: BasePolicyParams, cache: Path, say: Say, *, allow_network: bool) -> _Source:
    if params.source == "gguf":
        return _Source(
            str(params.sha256),
            f"{params.location}, file {params.gguf_file}",
            lambda: find_gguf(params, cache, say, allow_network=allow_network),
        )
    if params.source == "hub":
        path = find_hub_model(params, say, allow_network=allow_network)
        return _Source(_folder_sha256(path, params.location), f"{params.location} at {params.revision}", lambda: path)
    path = Path(params.location).expanduser()
    if not path.exists():
        raise MissingInputError(f"{path}: no such file or folder; correct base_policy.location in params.yaml")
    if path.is_dir():
        return _Source(_folder_sha256(path, str(path)), "a local folder", lambda: path)
    if path.suffix != ".gguf":
        raise MissingInputError(f"{path}: neither a folder nor a .gguf file; correct base_policy.location")
    if params.sha256:
        check_sha256(path, params.sha256)
    return _Source(params.sha256 or sha256_file(path), "a local GGUF file", lambda: path)


def _folder_sha256(folder: Path, name: str) -> str:
    """SHA-256 over the names and hashes of the files in `folder` that make a policy."""
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    names = {path.name for path in files}
    if "config.json" not in names or not any(found.endswith(".safetensors") for found in names):
        raise MissingInputError(
            f"{name}: a policy needs config.json and weights in safetensors, found "
            f"{', '.join(sorted(names)) or 'nothing'}; weights in other formats are not loaded, save the model anew "
            "with save_pretrained"
        )
    listing = "".join(f"{path.name} {sha256_file(path)}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _is_intact(folder: Path, say: Say) -> bool:
    """Whether the converted policy is there and every file has its hash; a damaged one is removed."""
    if not (folder / MANIFEST).is_file():
        return False
    damage = _damage(folder)
    if damage:
        say(f"the converted policy is damaged and is made anew ({damage})")
        shutil.rmtree(folder)
    return not damage


def _damage(folder: Path) -> str:
    """What is wrong with the files of a converted policy; empty when each has its hash."""
    try:
        for name, expected in read_json(folder / MANIFEST)["files"].items():
            check_sha256(folder / name, expected["sha256"])
    except (IntegrityError, FileNotFoundError, KeyError, TypeError, AttributeError) as error:
        return one_line(error) or type(error).__name__
    return ""


def _convert(path: Path, folder: Path, dtype: str, known: dict[str, Any], say: Say) -> None:
    """Convert the policy at `path` (folder or GGUF file) to `folder`, which appears whole or not at all."""
    say(f"converting the base policy to safetensors in {dtype}, once; this takes a minute or two")
    model, tokenizer = _read_source(path, dtype)
    _settle_tokens(model, tokenizer)
    staging = folder.with_name(f".{folder.name}.incomplete")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    require_space(staging, sum(weight.numel() * weight.element_size() for weight in model.parameters()))
    try:
        with _quiet():
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
        files = {}
        for file in sorted(staging.iterdir()):
            file.chmod(0o644)
            files[file.name] = {"sha256": sha256_file(file), "size": file.stat().st_size}
        manifest = {"dtype": dtype, "converter": CONVERTER, "n_parameters": model.num_parameters(), "files": files}
        write_json(staging / MANIFEST, manifest | known)
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read_source(path: Path, dtype: str) -> tuple[Any, Any]:
    """Model and tokenizer at `path`, in `dtype`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place: dict[str, Any] = {"pretrained_model_name_or_path": str(path), "local_files_only": True}
    options: dict[str, Any] = {"use_safetensors": True}
    if path.is_file():
        place |= {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        options = {"quantization_config": GgufConfig(dequantize=True)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        return AutoModelForCausalLM.from_pretrained(**place, **options, dtype=getattr(torch, dtype)), tokenizer
    except Exception as error:  # transformers, tokenizers, gguf and safetensors raise errors of many kinds
        raise_known(error)
        raise IntegrityError(
            f"{path}: cannot be read as a causal language model ({one_line(error)}); choose another base_policy in "
            "params.yaml"
        ) from None


def _settle_tokens(model: Any, tokenizer: Any) -> None:
    """Name every token that ends a text in the generation config, and see to it that there is a padding token.

    A chat model that goes on with plain code ends it with the base model's token, not with that of a chat turn. The
    rest of the generation config (temperature, top_p ...) is dropped: how a policy is sampled is said in the params.
    """
    from transformers import GenerationConfig

    from crlhf.policy.decoding import end_token_ids

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    special = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = end_token_ids(model, tokenizer) | {special[token] for token in _END_TOKENS if token in special}
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and the advice of transformers."""
    from transformers.utils import logging as transformers_logging

    had_bar, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if had_bar:
            transformers_logging.enable_progress_bar()
