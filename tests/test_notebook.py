"""docs/demo.ipynb runs from its first cell to its last, on a clip of a second."""

import os
from pathlib import Path

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
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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


def test_notebook_is_committed_without_outputs() -> None:
    import json

    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
