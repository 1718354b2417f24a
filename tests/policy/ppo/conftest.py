import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def imported_modules_are_not_collected() -> None:
    """Each trainer asks for a full garbage collection, which walks every imported module: a second a run."""
    import trl.trainer.grpo_trainer  # noqa: F401

    gc.collect()
    gc.freeze()
