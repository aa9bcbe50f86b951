"""Dockerfile and compose.yaml: linted, and their install steps run in a clean environment. No engine is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _documents import ROOT

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
    assert any(rest.startswith("${CUDA_IMAGE}") for instruction, rest in instructions() if instruction == "FROM")
    assert "models fetch" not in DOCKERFILE.read_text(encoding="utf-8")


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
    build = DOCKERFILE.read_text(encoding="utf-8").split("FROM ${CUDA_IMAGE}")[0]
    steps = re.findall(r"^RUN (.*)$", build, re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        line = step.replace("/opt/skate", str(place)).replace("--no-cache ", "")
        line = re.sub(r"^python ", f"{sys.executable} ", line)
        shell(line, source, {"EXTRA": "cpu"})
    bare = {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "SKATE_MODELS": str(tmp_path / "models")}
    shell("skate check", tmp_path, bare)
    assert "stages/workflows" in shell(
        "python -c 'from stages._comfy.workflow import packaged_workflow as w; print(w(\"vace_template\"))'",
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
