"""docs/demo.ipynb runs from its first cell to its last, on a clip of a second."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _documents import ROOT
from _small_run import small_sam

NOTEBOOK = ROOT / "docs" / "demo.ipynb"


def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the cell that holds the settings is replaced; the kernel is this environment's."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel are in the dev group")
    import nbformat

    for name in ("JUPYTER_DATA_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    settings = next(cell for cell in notebook.cells if "FRAMES, SIZE, WINDOW, OVERLAP =" in cell.source)
    sam, sam_config = small_sam()
    settings.source = (
        "from pathlib import Path\n"
        f"FRAMES, SIZE, WINDOW, OVERLAP = 17, (160, 90), 9, 3\nSAM, SAM_CONFIG = {sam!r}, {sam_config!r}\n"
        f"OUT = Path({str(tmp_path)!r})\n"
    )
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    assert pictures == 4
    text = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "board IoU, mean" in text and "Frame 0016: IoU =" in text
    assert (tmp_path / "RUN" / "report" / "index.html").is_file()


def install_cell() -> dict[str, Any]:
    """What the first cell defines; here the program is installed, so that running it installs nothing."""
    source = "".join(code_cells()[0]["source"])
    assert "install(repository(SOURCE))" in source
    names: dict[str, Any] = {}
    exec(compile(source, str(NOTEBOOK), "exec"), names)
    return names


def test_the_first_cell_finds_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda line, **_: calls.append(line))
    repository = install_cell()["repository"]
    assert calls == []
    monkeypatch.chdir(ROOT / "docs")
    assert repository(None) == ROOT and repository(str(ROOT)) == ROOT
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="as SOURCE"):
        repository(None)
    assert repository("git@host:skate.git") == tmp_path / "skate-physics-preserver"
    assert [line[:2] + line[-2:] for line in calls] == [
        ["git", "clone", "git@host:skate.git", "skate-physics-preserver"]
    ]


def test_the_first_cell_installs_the_pinned_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same uv as `make setup` takes, and nothing goes into the kernel's own environment."""
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda line, **_: calls.append(line))
    monkeypatch.setattr(sys, "path", list(sys.path))
    install_cell()["install"](ROOT)
    (pin,) = re.findall(r"uv==\S+", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert calls[0][1:4] == ["-m", "pip", "install"] and calls[0][-1] == pin
    assert [line[-2:] for line in calls[1:]] == [["-r", "requirements/cpu.txt"], ["--no-deps", "."]]
    for line in calls:
        target = Path(line[line.index("--target" if "--target" in line else "-t") + 1])
        assert target.is_relative_to(ROOT / "build")
    assert sys.path[0] == str(target)
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"choose one with 3\.11"):
        install_cell()["install"](ROOT)


@pytest.mark.slow
def test_notebook_opens_where_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel with nothing but ipykernel, the notebook alone in a folder. Needs the network, or uv's cache."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    root, bare = tmp_path / "repository", tmp_path / "bare"
    for name in ("storage", "stages", "stream", "bench", "workflows", "requirements"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    subprocess.run([sys.executable, "-m", "venv", str(bare)], check=True)
    python = str(bare / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "ipykernel"], check=True)
    for name in ("JUPYTER_DATA_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "SKATE_MODELS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    spec = {"argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "bare"}
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "kernel.json").write_text(json.dumps(spec))
    KernelSpecManager().install_kernel_spec(str(tmp_path / "spec"), "bare", user=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells[0].source = cells[0].source.replace("SOURCE = None", f"SOURCE = {str(root)!r}")
    cells[1].source += "\nFRAMES, SIZE, WINDOW, OVERLAP = 17, (160, 90), 9, 3"
    (tmp_path / "elsewhere").mkdir()
    NotebookClient(notebook, timeout=1800, kernel_name="bare").execute(cwd=str(tmp_path / "elsewhere"))
    assert "board IoU, mean" in "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def code_cells() -> list[dict[str, Any]]:
    """The notebook's code, as it is committed."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_notebook_is_committed_without_outputs() -> None:
    cells = code_cells()
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
