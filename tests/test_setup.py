"""`make setup`: which Python and which packages it takes, what the pinned sets hold; `skate check` on the driver."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from _documents import ROOT
from packaging.requirements import Requirement

from stages import driver
from storage.errors import EnvironmentFault
from stream.check import checks
from stream.options.settings import resolve_device

SETS = ("cpu", "gpu", "gpu-cuda12")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def choose(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`requirements/choose.sh` where nothing is installed but what lies in `tmp_path/bin`."""
    place = tmp_path / "bin"
    place.mkdir(exist_ok=True)
    for name in ("sh", "head"):
        if not (place / name).exists():
            (place / name).symlink_to(shutil.which(name) or name)
    given = {"PATH": str(place), "HOME": str(tmp_path), **environment}
    line = [str(place / "sh"), str(ROOT / "requirements" / "choose.sh"), *words]
    return subprocess.run(line, env=given, capture_output=True, text=True, check=False, timeout=60)


def program(path: Path, prints: str, status: int = 0) -> Path:
    """An executable that prints one line, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def interpreter(path: Path) -> Path:
    """This Python under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_the_first_python_that_fits(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3", "is 3.10.12")
    program(tmp_path / "bin" / "python3.13", "shim: not installed", status=127)
    found = interpreter(tmp_path / "bin" / "python3.12")
    assert choose(tmp_path, "python").stdout == f"{found}\n"
    assert choose(tmp_path, "fits", str(found)).returncode == 0
    assert choose(tmp_path, "fits", str(tmp_path / "bin" / "python3")).returncode == 1
    assert choose(tmp_path, "fits", str(tmp_path / "nothing")).returncode == 1


@pytest.mark.parametrize(
    "place", [".pyenv/versions/3.12.7/bin/python3", ".local/share/uv/python/cpython-3.13.1-linux/bin/python3"]
)
def test_a_python_that_is_not_on_the_path(tmp_path: Path, place: str) -> None:
    found = interpreter(tmp_path / place)
    assert choose(tmp_path, "python").stdout == f"{found}\n"


def test_no_python_says_how_to_get_one(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3", "is 3.10.12")
    done = choose(tmp_path, "python")
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "(python3 is 3.10.12)" in done.stderr and "uv python install 3.12" in done.stderr
    interpreter(tmp_path / "bin" / "python3.11")
    named = choose(tmp_path, "python", PYTHON="/no/python")
    assert named.returncode == 1 and "(/no/python does not start)" in named.stderr


def test_make_stops_where_no_python_fits(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ["make", "setup", "EXTRA=cpu", "PYTHON=/no/python"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("prints", "status", "extra", "said"),
    [
        ("580.65.06", 0, "gpu", ""),
        ("610.12", 0, "gpu", ""),
        ("575.57.08", 0, "gpu-cuda12", ""),
        ("525.60.13\n525.60.13", 0, "gpu-cuda12", ""),
        ("470.256.02", 0, "cpu", "525 on x86_64"),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9, "cpu", "finds no card"),
    ],
)
def test_the_driver_decides_the_packages(tmp_path: Path, prints: str, status: int, extra: str, said: str) -> None:
    program(tmp_path / "bin" / "nvidia-smi", prints, status)
    program(tmp_path / "bin" / "uname", "x86_64")
    done = choose(tmp_path, "extra")
    assert done.returncode == 0 and done.stdout == f"{extra}\n"
    assert said in done.stderr and len(done.stderr.splitlines()) == bool(said)


@pytest.mark.parametrize(
    ("capabilities", "extra"),
    [("7.5", "gpu"), ("12.0", "gpu"), ("7.0", "gpu-cuda12"), ("6.1", "cpu"), ("6.1\n8.6", "gpu"), ("no field", "gpu")],
)
def test_the_gpu_decides_the_packages_too(tmp_path: Path, capabilities: str, extra: str) -> None:
    """A driver runs cards that the newest torch is no longer built for."""
    asked = program(tmp_path / "bin" / "nvidia-smi", "580.65.06")
    asked.write_text(f"#!/bin/sh\ncase $1 in *compute_cap*) echo '{capabilities}' ;; *) echo 580.65.06 ;; esac\n")
    program(tmp_path / "bin" / "uname", "x86_64")
    done = choose(tmp_path, "extra")
    assert done.returncode == 0 and done.stdout == f"{extra}\n"
    assert ("too old" in done.stderr) == (extra == "cpu") == bool(done.stderr)


def test_cuda_12_has_packages_for_x86_64_alone(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "uname", "aarch64")
    for version, extra in (("575.57.08", "cpu"), ("580.65.06", "gpu")):
        program(tmp_path / "bin" / "nvidia-smi", version)
        assert choose(tmp_path, "extra").stdout == f"{extra}\n"


def test_without_nvidia_smi_the_cpu_is_taken(tmp_path: Path) -> None:
    done = choose(tmp_path, "extra")
    assert (done.stdout, done.stderr) == ("cpu\n", "")


def test_make_takes_the_set_that_was_chosen(tmp_path: Path) -> None:
    program(tmp_path / "nvidia-smi", "560.35.03")
    given = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    given.pop("EXTRA", None)
    for words, wanted in ((["setup"], "gpu-cuda12"), (["setup", "EXTRA=cpu"], "cpu")):
        line = ["make", "-n", "-B", *words]
        done = subprocess.run(line, cwd=ROOT, env=given, capture_output=True, text=True, check=True)
        assert f"requirements/{wanted}.txt requirements/dev.txt" in done.stdout


def pins(name: str) -> dict[str, str]:
    """`{package: version}` of a pinned set."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text, "a lock names no index"
    found = re.findall(r"^([\w.-]+)==(\S+)(?: ;[^\\]*)? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)), "every line is pinned with a hash"
    assert len(found) == len(dict(found)), "one version for every Python"
    return dict(found)


@pytest.mark.parametrize("name", [*SETS, "dev"])
def test_pinned_sets_fit_the_project(name: str) -> None:
    """A dependency that was changed without `make lock` is found here."""
    found = pins(name)
    project = PROJECT["project"]
    wanted = PROJECT["dependency-groups"]["dev"]
    if name != "dev":
        extras = project["optional-dependencies"]
        wanted = [*project["dependencies"], *extras[name], *extras["url"], *extras["web"]]
    for each in map(Requirement, wanted):
        assert each.name in found, f"{each.name} is not pinned"
        assert each.specifier.contains(found[each.name]), f"{each}, pinned {found[each.name]}"


def test_sets_differ_by_the_gpu_alone() -> None:
    cpu, gpu, older = (pins(name) for name in SETS)
    assert not [name for name in older if name.endswith("-cu13")] and "nvidia-cudnn-cu12" in older
    assert not [name for name in gpu if name.endswith("-cu12")] and "nvidia-cudnn-cu13" in gpu
    assert "onnxruntime" in cpu and "onnxruntime-gpu" not in cpu
    for each in (gpu, older):
        assert "onnxruntime-gpu" in each and "onnxruntime" not in each
    shared = [name for name in cpu if name in older and not name.startswith(("nvidia-", "cuda-", "torch", "triton"))]
    assert {name: cpu[name] for name in shared} == {name: older[name] for name in shared}


def test_versions_are_the_same_everywhere() -> None:
    oldest, newest = (".".join(map(str, each)) for each in checks.PYTHONS)
    following = f"3.{checks.PYTHONS[1][1] + 1}"
    assert PROJECT["project"]["requires-python"] == f">={oldest},<{following}"
    script = (ROOT / "requirements" / "choose.sh").read_text(encoding="utf-8")
    assert f"({oldest.replace('.', ', ')}) <= sys.version_info < ({following.replace('.', ', ')})" in script
    assert f"no Python {oldest}, 3.12 or {newest}" in script
    assert re.findall(r"-ge (\d+) \][^;]*; then\s+echo (\S+)", script) == [
        (str(driver.OLDEST[cuda]), driver.EXTRAS[cuda]) for cuda in sorted(driver.OLDEST, reverse=True)
    ]
    assert set(driver.EXTRAS.values()) | {"cpu"} == set(SETS)


@pytest.mark.parametrize(
    ("found", "cuda", "fits", "remedy"),
    [
        ("580.65.06", "13.0", True, None),
        ("575.57", "13.0", False, "make setup EXTRA=gpu-cuda12, or update the driver"),
        ("525.60.13", "12.8", True, None),
        ("610.1", "12.8", True, None),
        ("470.256", "12.8", False, "update the driver to 525 or newer, or use --device cpu"),
        ("580.65", None, False, "make setup EXTRA=gpu"),
    ],
)
def test_check_says_driver_needed_and_found(
    monkeypatch: pytest.MonkeyPatch, found: str, cuda: str | None, fits: bool, remedy: str | None
) -> None:
    here(monkeypatch, found, cuda)
    row = checks.check_driver("cuda")
    assert row.ok is fits and row.needed and row.detail.startswith(f"{found}; torch")
    assert cuda is None or f"CUDA {cuda} needs {driver.OLDEST[int(cuda[:2])]} or newer" in row.detail
    assert remedy is None or row.remedy == remedy
    assert not checks.check_driver("auto").needed


def here(monkeypatch: pytest.MonkeyPatch, found: str | None, cuda: str | None) -> None:
    """A machine with this driver and a torch for this CUDA; no GPU that torch can use."""
    import torch

    def version() -> str:
        if found is None:
            raise EnvironmentFault("no library")
        return found

    monkeypatch.setattr(driver, "driver_version", version)
    monkeypatch.setattr(driver, "torch_cuda", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_check_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, None, "13.0")
    row = checks.check_driver("auto")
    assert not row.ok and not row.needed and row.detail.startswith("none answers (no library); torch's CUDA 13.0")


@pytest.mark.parametrize("found", ["575.57.08", "580.65", None])
def test_the_cpu_is_not_taken_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, found: str | None
) -> None:
    here(monkeypatch, found, "13.0")
    assert resolve_device("auto") == "cpu"
    said = "working on the CPU: the NVIDIA driver is 575.57.08; torch's CUDA 13.0 needs 580 or newer: make setup EXTRA="
    assert (said in caplog.text) == (found == "575.57.08") == bool(caplog.text)


def test_the_driver_is_asked_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    calls: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "575.57.08")
    assert driver.find_driver().found == "575.57.08" and calls == ["init", "shutdown"]

    def broken() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", broken)
    assert "version mismatch" in driver.find_driver().detail


@pytest.mark.parametrize(
    ("capability", "remedy"), [((6, 1), "use --device cpu"), ((7, 0), "make setup EXTRA=gpu-cuda12")]
)
def test_a_gpu_that_torch_is_not_built_for_is_told_and_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capability: tuple[int, int], remedy: str
) -> None:
    """torch counts it as available."""
    a_gpu(monkeypatch, capability)
    needs = f"Card has compute capability {capability[0]}.{capability[1]}; torch {torch_version()} needs 7.5 or newer"
    row = next(row for row in checks.check_torch("auto") if row.name == "CUDA 0")
    assert not row.ok and row.detail == needs and row.remedy.startswith(remedy)
    with pytest.raises(EnvironmentFault, match=re.escape(f"--device cuda: {needs}: {remedy}")) as caught:
        resolve_device("cuda")
    assert caught.value.exit_code == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert resolve_device("auto") == "cpu" and os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert f"working on the CPU: {needs}: {remedy}" in caplog.text


def test_a_gpu_that_torch_is_built_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, built in (((7, 5), BUILT), ((8, 9), BUILT), ((12, 1), BUILT), ((9, 0), ["gfx90a"])):  # AMD's
        a_gpu(monkeypatch, capability, built)
        assert resolve_device("auto") == resolve_device("cuda") == "cuda"


BUILT = ["sm_75", "sm_80", "sm_90a", "sm_120"]


def a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: list[str] = BUILT) -> None:
    """A machine with one GPU, and a torch that is built for these."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Card")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)


def torch_version() -> str:
    import torch

    return str(torch.__version__)
