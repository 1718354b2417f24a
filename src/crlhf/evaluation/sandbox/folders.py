"""Folders of the sandbox: those that a program may read, and the emptying of the one that it may write.

Written without pathlib: the zygote does not load it, because every fork copies the tables of the pages it fills.
"""

from __future__ import annotations

import os
import sys

_PACKAGES = ("site-packages", "dist-packages")


def empty_folder(folder: str) -> None:
    """Remove all that is in `folder`. Depth does not matter: folders inside folders are moved up, then removed.

    Nothing that runs may still write there. Names that the folders get on the way cannot be guessed, so that nothing
    stands in their place.
    """
    while entries := _entries(folder):
        for path, is_folder in entries:
            if not is_folder:
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner, is_inner_folder in _entries(path):
                if is_inner_folder:
                    os.chmod(inner, 0o700)
                    os.rename(inner, f"{folder}/{os.urandom(12).hex()}")
                else:
                    os.unlink(inner)
            os.rmdir(path)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Paths in `folder`, and whether each is a folder itself; a link to a folder is none."""
    with os.scandir(folder) as entries:
        return [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]


def readable_folders() -> list[str]:
    """Folders the interpreter needs: its library, and the system's shared libraries.

    Asked by the tester: what `sysconfig` loads would make every fork of the zygote's dearer.
    """
    import sysconfig

    paths = sysconfig.get_paths()
    multiarch = sysconfig.get_config_var("MULTIARCH") or "none"
    shared = [f"{root}/{multiarch}" for root in ("/lib", "/usr/lib")]
    own = f"{sys.base_prefix}/lib"
    libraries = [f"{own}/{name}" for name in _names(own) if ".so" in name]
    found = [paths["stdlib"], paths["platstdlib"], *shared, "/lib64", "/usr/lib64", *libraries, "/usr/share/zoneinfo"]
    return list(dict.fromkeys(path for path in found if os.path.exists(path)))


def readable_paths(folders: list[str]) -> list[str]:
    """`folders` as single paths that leave installed packages out: a data set may be among them."""
    found: list[str] = []
    for folder in folders:
        inside = _names(folder)
        is_library = os.path.exists(f"{folder}/os.py")
        kept = [name for name in inside if not _is_installed(f"{folder}/{name}", is_library)]
        found += [folder] if len(kept) == len(inside) else [f"{folder}/{name}" for name in kept]
    return found


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _is_installed(path: str, in_library: bool) -> bool:
    """Whether `path` holds installed packages: site-packages, or another Python's folder beside shared libraries."""
    name = os.path.basename(path)
    return name in _PACKAGES or (not in_library and name.startswith("python") and os.path.isdir(path))
