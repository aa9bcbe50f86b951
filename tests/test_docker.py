"""Dockerfile and compose.yaml: linted, and their steps run in a clean environment. No engine is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from _documents import ROOT
from fake_comfy import FakeComfy

DOCKERFILE = ROOT / "Dockerfile"


def tool(name: str) -> str:
    """A linter of the dev group; skipped where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed (dev group)")
    return found


def linted(*words: str) -> None:
    """The linter finds nothing."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_lints() -> None:
    linted(tool("hadolint"), "Dockerfile")


def test_compose_fits_its_schema() -> None:
    linted(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def instructions() -> list[tuple[str, str]]:
    """`(instruction, rest)` of the Dockerfile, continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def copied() -> list[str]:
    """What the Dockerfile takes out of the repository."""
    found = []
    for instruction, rest in instructions():
        if instruction == "COPY" and not rest.startswith("--from"):
            found += rest.split()[:-1]
    return found


def test_the_image_is_not_root_and_holds_no_weights() -> None:
    users = [rest for instruction, rest in instructions() if instruction == "USER"]
    assert users and users[-1] != "root" and not users[-1].startswith("0")
    assert "/models" in json.loads(next(rest for instruction, rest in instructions() if instruction == "VOLUME"))
    assert "models fetch" not in DOCKERFILE.read_text(encoding="utf-8")


def test_interpreter_and_compiler_are_in_the_image() -> None:
    """The environment's Python lies where it was made, its headers too; `--sam-compile` needs compilers."""
    stages = [rest.split(" ")[0] for instruction, rest in instructions() if instruction == "FROM"]
    assert len(stages) == 2 and len(set(stages)) == 1
    last = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ${PYTHON_IMAGE}\n")[1]
    assert re.search(r"apt-get install .*\bg\+\+", last)
    arguments = {rest for instruction, rest in instructions() if instruction == "ARG"}
    default = next(rest.split("=")[1] for rest in arguments if rest.startswith("EXTRA="))
    assert (ROOT / "requirements" / f"{default}.txt").is_file()


def compose() -> dict[str, Any]:
    """compose.yaml as Compose reads it: `$$` is a dollar sign."""
    loaded = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8").replace("$$", "$"))
    services: dict[str, Any] = loaded["services"]
    return services


def test_compose_reaches_the_host_and_waits_for_comfyui() -> None:
    services = compose()
    assert "host.docker.internal:host-gateway" in services["skate"]["extra_hosts"]
    assert services["skate"]["depends_on"]["comfyui"] == {"condition": "service_healthy", "required": False}
    assert services["comfyui"]["profiles"] == ["comfyui"] and "healthcheck" in services["comfyui"]


def test_comfyui_image_lints(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(compose()["comfyui"]["build"]["dockerfile_inline"])
    linted(tool("hadolint"), "--ignore", "DL3008", str(file))


def test_health_check_tells_a_living_server_from_none() -> None:
    check = compose()["comfyui"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "/venv/bin/python", "-c"]
    with FakeComfy() as server:
        for address, fails in ((server.address, False), ("127.0.0.1:9", True)):
            line = [sys.executable, "-c", check[3].replace("127.0.0.1:8188", address)]
            done = subprocess.run(line, capture_output=True, check=False, timeout=60)
            assert (done.returncode != 0) is fails, done.stderr


def test_comfyui_starts_with_its_custom_nodes(tmp_path: Path) -> None:
    """The service's own command with programs that write down how they are called; one node's packages fail."""
    calls = tmp_path / "calls"
    program = f'#!/bin/sh\necho "$(basename "$0") $*" >> {calls}\ncase "$*" in *broken*) exit 1;; esac\n'
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    for name in ("python", "pip"):
        (venv / name).write_text(program)
        (venv / name).chmod(0o755)
    for node in ("VideoHelperSuite", "broken", "plain"):
        (tmp_path / "custom_nodes" / node).mkdir(parents=True)
        if node != "plain":
            (tmp_path / "custom_nodes" / node / "requirements.txt").write_text("gguf\n")
    _, _, script = compose()["comfyui"]["command"]
    out = shell(script.replace("/venv/", f"{tmp_path}/venv/"), tmp_path, {"COMFYUI_TORCH": "torch==2.10.0"})
    assert calls.read_text().splitlines() == [
        "pip install --quiet torch==2.10.0",
        "pip install --quiet -r requirements.txt",
        "pip install --quiet -r custom_nodes/VideoHelperSuite/requirements.txt",
        "pip install --quiet -r custom_nodes/broken/requirements.txt",
        "python main.py --listen 0.0.0.0 --port 8188 --lowvram",
    ]
    assert out.splitlines() == ["custom_nodes/broken/requirements.txt failed: its nodes will be missing"]


def test_everything_copied_is_there_and_not_ignored() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    for name in copied():
        assert (ROOT / name).exists(), f"{name} is not there"
        assert name in kept, f"{name} is ignored by .dockerignore"
    assert "*" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert not {".git", ".venv", "runs", "tests"} & kept


@pytest.mark.slow
def test_install_steps_in_a_clean_environment(tmp_path: Path) -> None:
    """The build stage's own RUN lines, in a folder that holds only what it copies; then the program, from elsewhere.

    Needs the network, or uv's cache.
    """
    source, place = tmp_path / "src", tmp_path / "skate"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ${PYTHON_IMAGE}\n")[0]
    steps = re.findall(r"^RUN (.*)$", build, re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        line = step.replace("/opt/skate", str(place)).removeprefix("--mount=type=cache,target=/root/.cache/uv ")
        line = re.sub(r"^python ", f"{sys.executable} ", line)
        shell(line, source, {"EXTRA": "cpu"})
    bare = {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "SKATE_MODELS": str(tmp_path / "models")}
    shell("skate check", tmp_path, bare)
    assert "stages/workflows" in shell(
        "python -c 'from stages.recipes.registry import graph_file as w; print(w(\"vace\"))'",
        tmp_path,
        bare,
    )
    shell("skate extract --help && skate bench --help && skate models list", tmp_path, bare)
    shell(
        "skate demo --frames 20 --clip-size 320x180 --window 9 --overlap 3 --out demo || test $? -eq 1", tmp_path, bare
    )
    assert (tmp_path / "demo" / "output.mp4").is_file()


def shell(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a line as `sh` would in the image; its stdout."""
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    }
    done = subprocess.run(
        ["sh", "-euc", line], cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
