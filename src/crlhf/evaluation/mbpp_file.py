"""Where MBPP's one file comes from; reads and writes the cache folder and, when allowed, the network.

MBPP (Austin et al. 2021, arXiv:2108.07732; CC-BY-4.0) is published as `mbpp.jsonl`. Whatever way it comes, it is that
file byte for byte: its SHA-256 is known, and the Hub's tables are turned back into the same bytes before they count.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crlhf.errors import DiskFullError, IntegrityError, MissingInputError
from crlhf.fetch import Say, check_sha256, download
from crlhf.store import atomic_write

MBPP_URL = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl"
MBPP_SHA256 = "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f"
HUB_DATASET = "google-research-datasets/mbpp"
_HUB_SPLITS = ("prompt", "test", "validation", "train")
_FIELDS = ("text", "code", "task_id", "test_setup_code", "test_list", "challenge_test_list")
_PATIENCE_S = 5.0


def find_mbpp(folders: Sequence[Path], cache: Path, *, allow_network: bool = True, say: Say) -> tuple[Path, str] | None:
    """Find MBPP's file: in the cache, in one of `folders`, at its official address, on the Hub, in this order.

    Args:
        folders: folders in which a file called mbpp.jsonl is looked for; one that does not exist is passed over.
        cache: the cache folder; a fetched file is kept there as benchmarks/mbpp.jsonl.
        allow_network: False looks at files only.
        say: is told what is fetched and what could not be.

    Returns:
        The path of the verified file and where it came from, or None when it is nowhere to be had.

    Raises:
        IntegrityError: a file is there, but is not the published one. Other bytes from the network are only said,
            and the next source is tried.
    """
    cached = cache / "benchmarks" / "mbpp.jsonl"
    for path, origin in [(cached, "the cache"), *((folder / "mbpp.jsonl", str(folder)) for folder in folders)]:
        if path.is_file():
            check_sha256(path, MBPP_SHA256)
            return path, origin
    if allow_network and _fetch_official(cached, say):
        return cached, MBPP_URL
    if allow_network and _fetch_from_hub(cached, cache / "hub", say):
        return cached, f"the Hub dataset {HUB_DATASET}"
    return None


def _fetch_official(target: Path, say: Say) -> bool:
    """Download the published file to `target`; False, and the reason said, when that cannot be done."""
    say(f"MBPP: fetching {MBPP_URL}")
    if not _answers(MBPP_URL):
        say(f"MBPP: {MBPP_URL} cannot be reached")
        return False
    try:
        download(MBPP_URL, target, MBPP_SHA256, timeout_s=_PATIENCE_S)
    except (MissingInputError, IntegrityError) as error:
        say(f"MBPP: {error}")
        return False
    except (OSError, http.client.HTTPException) as error:
        say(f"MBPP: {MBPP_URL}: the download broke off ({error})")
        return False
    return True


def _fetch_from_hub(target: Path, hub_cache: Path, say: Say) -> bool:
    """Download the Hub's tables and write them to `target` as the published file; False when that cannot be done."""
    from huggingface_hub import constants

    say(f"MBPP: fetching the Hub dataset {HUB_DATASET}")
    if not _answers(constants.ENDPOINT):
        say(f"MBPP: {constants.ENDPOINT} cannot be reached")
        return False
    try:
        rows = _hub_rows(hub_cache)
    except DiskFullError:
        raise
    except Exception as error:  # the Hub's client raises errors of several libraries; each means the same here
        say(f"MBPP: the Hub dataset {HUB_DATASET} cannot be read ({type(error).__name__}: {error})")
        return False
    content = published_bytes(rows)
    if hashlib.sha256(content).hexdigest() != MBPP_SHA256:
        say(f"MBPP: the Hub dataset {HUB_DATASET} does not hold the published problems; it is not used")
        return False
    with atomic_write(target) as file:
        file.write(content)
    return True


def _hub_rows(hub_cache: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq
    from huggingface_hub import hf_hub_download

    rows: list[dict[str, Any]] = []
    for split in _HUB_SPLITS:
        path = hf_hub_download(
            HUB_DATASET,
            f"full/{split}-00000-of-00001.parquet",
            repo_type="dataset",
            cache_dir=hub_cache,
            etag_timeout=_PATIENCE_S,
        )
        rows.extend(pq.read_table(path).to_pylist())
    return rows


def published_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows of MBPP as the published file has them: by task_id, one JSON object a line, its fields in its order."""
    ordered = sorted(rows, key=lambda row: int(row["task_id"]))
    lines = [json.dumps({field: row[field] for field in _FIELDS}) for row in ordered]
    return "".join(line + "\n" for line in lines).encode()


def _answers(url: str) -> bool:
    """Whether a server answers at `url` within a few seconds, whatever it says.

    A name server that is silent blocks a look-up for much longer than any time-out of urllib, so the question is asked
    in a thread of its own, which is left behind.
    """
    heard: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S):
                heard.append(True)
        except urllib.error.HTTPError:
            heard.append(True)
        except (OSError, ValueError, http.client.HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return bool(heard)
