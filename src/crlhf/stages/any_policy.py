"""Any policy that a user names: a folder, a GGUF file, an adapter, this project's own policies, a Hub repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import InputError, MissingInputError
from crlhf.fetch import Say, cache_folder, sha256_file
from crlhf.params import BasePolicyParams, load_params
from crlhf.stages import BASE
from crlhf.stages.policies import ADAPTER, MANIFEST, MODELS, find_policy
from crlhf.store import read_json

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_POLICY_ID = re.compile(r"[0-9a-f]{12}")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


class PolicyRequest(NamedTuple):
    """How a user names a policy.

    Attributes:
        place: a path, the id of a Hub repository, `base` or a round's name of the project at `root`, or the policy_id
            of a policy in the cache.
        base: the base of an adapter, named likewise; None: the one that the adapter names.
        revision: of a Hub repository.
        dtype: float32 | bfloat16 | float16, in which the weights are held.
        root: the folder of a project, whose rounds can then be named; or None.
    """

    place: str
    base: str | None = None
    revision: str = "main"
    dtype: str = "float32"
    root: Path | None = None


class FoundPolicy(NamedTuple):
    """A policy on this machine.

    `base_name` and `base_id` are those of the policy without its adapter: equal ids mean equal weights.
    `is_simulated` is True when it is known that a simulated crowd taught it.
    """

    name: str
    policy_id: str
    folder: Path
    adapter: Path | None
    base_name: str
    base_id: str
    adapter_sha256: str | None
    is_simulated: bool

    def described(self) -> dict[str, Any]:
        """What the meta data of a result say of the policy."""
        kept = ("name", "policy_id", "base_name", "base_id", "adapter_sha256", "is_simulated")
        return {name: getattr(self, name) for name in kept}


def find_any_policy(request: PolicyRequest, say: Say) -> FoundPolicy:
    """Find, fetch or convert the policy; weights are taken as safetensors or GGUF only.

    Taken are: a folder with config.json; a .gguf file; a folder with a LoRA adapter of PEFT; a folder models/base or
    models/<round> of a project, or the adapter in it; the name of such a folder in the project at `request.root`; the
    policy_id of a policy in the cache, by which a round's adapter names its base; a Hub repository (a model or an
    adapter). A path that is there goes before a name.

    Raises:
        MissingInputError: it is not there and cannot be fetched.
        InputError: it is none of these.
        IntegrityError: its files cannot be read as a policy.
    """
    path = Path(request.place).expanduser()
    home = _home(path, request)
    if home is not None:
        return _of_project(home)
    if path.is_dir() and (path / _ADAPTER[0]).is_file():
        return _adapter(path, path.name, request, say)
    if path.is_dir() or path.suffix == ".gguf":
        return _plain(request, "path", say)
    cached = cache_folder() / "policies" / request.place
    if not path.exists() and _POLICY_ID.fullmatch(request.place) and cached.is_dir():
        return _plain(request._replace(place=str(cached)), "path", say)
    if path.exists() or not _HUB_ID.fullmatch(request.place):
        what = "neither a folder nor a .gguf file" if path.exists() else "no such file or folder, and no Hub id"
        raise MissingInputError(
            f"{request.place}: {what}; name a local policy, a Hub repository owner/name, or a project's base or round"
        )
    return _from_hub(request, say)


def _home(path: Path, request: PolicyRequest) -> Path | None:
    """The folder models/base or models/<round> of a project that is meant, made or not; None: it is another policy."""
    home = path.resolve()
    if home.name == ADAPTER and request.base is None:
        home = home.parent
    if home.parent.name == MODELS and (home / MANIFEST).is_file():
        return home
    if request.root is None or not (request.root / "params.yaml").is_file():
        return None
    own = [request.root / MODELS / name for name in (BASE, *load_params(request.root / "params.yaml").rounds)]
    named = home if path.exists() or home in own else request.root / MODELS / request.place
    return named if named in own else None


def _from_hub(request: PolicyRequest, say: Say) -> FoundPolicy:
    from crlhf.policy.weights import find_hub_model

    params = BasePolicyParams(name=request.place, source="hub", location=request.place, revision=request.revision)
    folder = find_hub_model(params, say)
    if (folder / _ADAPTER[0]).is_file() and not (folder / "config.json").is_file():
        return _adapter(folder, request.place, request, say)
    return _plain(request, "hub", say)


def _plain(request: PolicyRequest, source: str, say: Say) -> FoundPolicy:
    from crlhf.policy.base import find_prepared, prepare_base_policy

    location = request.place if source == "hub" else str(Path(request.place).expanduser().resolve())
    prepared = None if source == "hub" else find_prepared(Path(location), cache_folder(), request.dtype)
    if prepared is not None:
        return _prepared(prepared)
    params = BasePolicyParams.model_validate(
        {
            "name": request.place if source == "hub" else Path(location).name,
            "source": source,
            "location": location,
            "revision": request.revision,
            "dtype": request.dtype,
        }
    )
    return _prepared(prepare_base_policy(params, cache_folder(), say))


def _prepared(manifest: dict[str, Any]) -> FoundPolicy:
    from crlhf.policy.base import policy_folder

    folder = policy_folder(manifest, cache_folder())
    name, policy_id = str(manifest["name"]), str(manifest["policy_id"])
    return FoundPolicy(name, policy_id, folder, None, name, policy_id, None, False)


def _of_project(path: Path) -> FoundPolicy:
    """The policy of a project in its folder `path`, models/base or models/<round>."""
    policy = find_policy(path.parents[1], path.name)
    sha256 = sha256_file(policy.adapter / _ADAPTER[1]) if policy.adapter else None
    return FoundPolicy(
        policy.name,
        policy.policy_id,
        policy.folder,
        policy.adapter,
        str(policy.base["name"]),
        str(policy.base["policy_id"]),
        sha256,
        policy.is_simulated,
    )


def _adapter(folder: Path, name: str, request: PolicyRequest, say: Say) -> FoundPolicy:
    if not (folder / _ADAPTER[1]).is_file():
        raise MissingInputError(f"{folder / _ADAPTER[1]}: no such file; an adapter is taken as safetensors only")
    named = request.base or str(read_json(folder / _ADAPTER[0]).get("base_model_name_or_path") or "")
    if not named:
        raise InputError(f"{folder / _ADAPTER[0]}: names no base; give the adapter's base with --base")
    base = find_any_policy(PolicyRequest(named, dtype=request.dtype, root=request.root), say)
    if base.adapter is not None:
        raise InputError(f"{named}: is an adapter itself; give a whole policy with --base")
    sha256 = sha256_file(folder / _ADAPTER[1])
    return base._replace(
        name=f"{base.name} + adapter {name}",
        policy_id=f"{base.policy_id}+{sha256[:12]}",
        adapter=folder,
        adapter_sha256=sha256,
        is_simulated=base.is_simulated or _says_simulated(folder.parent / MANIFEST),
    )


def _says_simulated(manifest: Path) -> bool:
    """Whether the manifest of a round, where there is one, says that a simulated crowd taught its policy."""
    return manifest.is_file() and bool(read_json(manifest).get("is_simulated"))
