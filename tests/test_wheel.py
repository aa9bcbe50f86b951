"""The wheel holds everything that a run needs, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from _documents import ROOT


@pytest.mark.slow
def test_wheel_is_complete(tmp_path: Path) -> None:
    """Needs the network, or uv's cache, for the build backend."""
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv is not in this environment: `make setup` brings it")
    done = subprocess.run([uv, "build", "--wheel", "-o", tmp_path, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        entry = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "skate = stream.cli:main" in entry
    expected = [
        str(path.relative_to(ROOT))
        for folder in ("stream", "stages", "storage", "bench")
        for path in data_files(folder)
    ]
    expected += [f"stages/workflows/{path.name}" for path in (ROOT / "workflows").glob("*.json")]
    assert sorted(set(expected) - set(names)) == []
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stream", "stages", "storage", "bench"}
    assert not [name for name in names if "__pycache__" in name]


def data_files(folder: str) -> list[Path]:
    """Every file of a package in the source tree."""
    return [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
