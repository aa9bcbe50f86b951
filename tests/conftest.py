"""For all tests: the user's own cache folder is left alone, and a GPU hidden by one test is there for the next."""

import os
from collections.abc import Iterator

import pytest

# As `skate` itself does: spinning OpenMP threads are 20 to 40 times slower where cores are shared. Before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point the platform's cache folder (calibration, weights) at an empty one."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(autouse=True)
def own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--device cpu` hides comes back after the test."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ["CUDA_VISIBLE_DEVICES"])
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


@pytest.fixture
def era(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fake ComfyUI is as servers of that time were: of modules that hold for all `fake_comfy.ERAS`."""
    monkeypatch.setattr("fake_comfy.server.DEFAULT_ERA", request.param)
    return str(request.param)
