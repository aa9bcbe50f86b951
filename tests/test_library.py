"""Used as a library: several models at once in one process."""

import sys
import threading
import time
from typing import Any

import pytest
from _small_run import small_sam

from stream.api import sam_model


def together(work: Any, count: int = 4) -> None:
    """Call it in as many threads at once, to their ends."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_models_that_load_at_once_leave_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is built torch says that there is no GPU, and what is printed goes to stderr: not for ever."""
    import hydra.utils
    import torch

    build, asked, stdout = hydra.utils.instantiate, torch.cuda.is_available, sys.stdout
    built = []

    def slowly(*given: Any, **named: Any) -> Any:
        time.sleep(0.05)
        built.append(build(*given, **named))
        return built[-1]

    monkeypatch.setattr(hydra.utils, "instantiate", slowly)

    def load() -> None:
        with sam_model(*small_sam()) as model:
            model.load()

    try:
        small_sam()
        together(load)
        assert len(built) >= 4
        assert sys.stdout is stdout and torch.cuda.is_available is asked
    finally:
        sys.stdout, torch.cuda.is_available = stdout, asked
