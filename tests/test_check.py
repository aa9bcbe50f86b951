"""`skate check`: every probe on this machine, and a small stand-in for a ComfyUI server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage.errors import EnvironmentFault, UsageError
from stream.check import checks
from stream.check.comfy import check_server, check_workflow_file
from stream.check.rows import Row
from stream.cli import main

SYSTEM_STATS = {
    "system": {"comfyui_version": "0.3.64"},
    "devices": [{"name": "cuda:0 Some GPU", "vram_total": 8_000_000_000, "vram_free": 6_500_000_000}],
}


def workflow_file(tmp_path: Path) -> Path:
    """The smallest graph that a workflow can be."""
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {}, "_meta": {"title": "skate control video"}},
        "2": {"class_type": "LoadVideo", "inputs": {}, "_meta": {"title": "skate control mask"}},
        "3": {"class_type": "WanVaceToVideo", "inputs": {}},
        "4": {"class_type": "KSampler", "inputs": {}},
        "5": {"class_type": "SaveImage", "inputs": {}},
    }
    path = tmp_path / "my_workflow.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.fixture
def server() -> Iterator[tuple[dict[str, Any], str]]:
    answers: dict[str, Any] = {"/system_stats": SYSTEM_STATS, "/object_info": {}}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            answer = answers.get(self.path)
            body = json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answers, f"127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_MODELS", str(tmp_path / "models"))


def node(*required: str) -> dict[str, Any]:
    return {"input": {"required": {name: ["STRING", {}] for name in required}}, "output": []}


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests themselves stand on must be found whole."""
    for row in (checks.check_python(), checks.check_av(), checks.check_sam2(), *checks.check_torch("cpu")):
        assert row.ok or not row.needed, row
    rows = {row.name: row for row in checks.check_onnxruntime("cpu")}
    assert rows["ONNX Runtime"].ok and rows["CPUExecutionProvider"].ok
    assert "CUDAExecutionProvider" not in rows, "--device cpu leaves the GPU alone"
    assert list(checks.check_clashes()) == []


def test_old_python() -> None:
    row = checks.check_python((3, 10, 2))
    assert not row.ok and row.detail == "3.10.2" and "3.11" in row.remedy


def test_two_distributions_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(checks, "_installed", installed.get)
    (row,) = checks.check_clashes()
    assert not row.ok and row.needed and "overwrite each other" in row.detail and "uninstall" in row.remedy


def test_compilers_and_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name in ("gcc", "c++") else None)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    row = checks.check_compiler()
    assert not row.ok and not row.needed and row.detail == f"not there: {tmp_path / 'Python.h'}"
    (tmp_path / "Python.h").touch()
    row = checks.check_compiler()
    assert row.ok and row.detail == "/usr/bin/gcc, /usr/bin/c++"
    monkeypatch.setattr("shutil.which", lambda name: None)
    row = checks.check_compiler()
    assert row.detail == "not there: C compiler, C++ compiler" and "g++ python3-dev" in row.remedy


def test_cuda_is_needed_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device, needed in (("auto", False), ("cuda", True)):
        row = next(row for row in checks.check_torch(device) if row.name == "CUDA")
        assert not row.ok and row.needed is needed
        provider = next(row for row in checks.check_onnxruntime(device) if row.name == "CUDAExecutionProvider")
        assert provider.needed is needed
    left = next(row for row in checks.check_torch("cpu") if row.name == "CUDA")
    assert left.ok and not left.needed and "left alone" in left.detail


def test_weights() -> None:
    default = checks.check_weights("sam", None)
    assert not default.ok and not default.needed and "sam2.1_hiera_small.pt is not there" in default.detail
    assert default.remedy == "skate models fetch small, or --sam mini"
    assert checks.check_weights("pose", "rtmw-balanced").needed
    unknown = checks.check_weights("detector", "yolo")
    assert not unknown.ok and "known are yolox-m" in unknown.detail
    assert checks.check_weights("detector", "mini").ok


def test_a_server_and_its_workflow(server: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    answers, address = server
    file = workflow_file(tmp_path)
    first, second = check_server(address, str(file))
    assert first.ok and "version 0.3.64" in first.detail and "6.5 GB of 8.0 GB free" in first.detail
    assert not second.ok and second.needed and "node WanVaceToVideo is missing" in second.detail
    answers["/object_info"] = {name: node() for name in ("LoadVideo", "WanVaceToVideo", "KSampler", "SaveImage")}
    _, second = check_server(address, str(file))
    assert second.ok and second.name == "workflow my_workflow.json"
    answers["/object_info"]["KSampler"] = node("seed")
    _, second = check_server(address, str(file))
    assert "required input seed is missing" in second.detail


def test_a_server_and_the_workflows_that_come_along(server: tuple[dict[str, Any], str]) -> None:
    _, address = server
    rows = list(check_server(address, None))[1:]
    assert [row.needed for row in rows] == [True, *[False] * 11]


def test_servers_that_are_none(server: tuple[dict[str, Any], str]) -> None:
    answers, address = server
    (row,) = check_server("127.0.0.1:9", None)
    assert not row.ok and "no answer" in row.detail and "start ComfyUI" in row.remedy
    answers.clear()
    (row,) = check_server(address, None)
    assert not row.ok and "404" in row.detail
    with pytest.raises(UsageError):
        list(check_server("http://", None))


def test_a_workflow_alone(tmp_path: Path) -> None:
    assert check_workflow_file(str(workflow_file(tmp_path))).ok
    row = check_workflow_file(str(tmp_path / "none.json"))
    assert not row.ok and row.needed and "cannot be read" in row.detail
    rows = checks.all_rows(servers=("127.0.0.1:99999",))
    with pytest.raises(UsageError, match="out of range"):
        next(rows)


def test_the_verdict() -> None:
    fine, absent = Row("a", True, "x"), Row("b", False, "x", "do", needed=False)
    checks.verdict([fine, absent])
    with pytest.raises(EnvironmentFault, match="not ready: c; the table"):
        checks.verdict([fine, absent, Row("c", False, "x", "do")])


@pytest.fixture
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow ones are tested above."""
    for name in ("check_torch", "check_onnxruntime"):
        monkeypatch.setattr(checks, name, lambda device: iter(()))
    monkeypatch.setattr(checks, "check_sam2", lambda: Row("sam2", True, "1.1.0"))


@pytest.mark.usefixtures("few_probes")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    out = capsys.readouterr().out
    assert not ended.value.code and "ok       Python" in out and "absent   sam small (default)" in out
    with pytest.raises(SystemExit) as ended:
        main(["check", "--detector", "mini", "--sam", "tiny", "--json"])
    *rows, error = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 4 and error["message"].startswith("not ready: sam tiny;")
    assert all(set(row) == {"event", "name", "ok", "needed", "detail", "remedy"} for row in rows)
    assert [row["ok"] for row in rows if row["name"] == "detector mini"] == [True]
