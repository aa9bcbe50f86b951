"""The table of weight files, finding them, and `skate models`."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stages.models import registry
from stages.models.registry import (
    DEFAULTS,
    KINDS,
    MODELS,
    check_content,
    content_sha256,
    find,
    models_folder,
    names,
    path_of,
    resolve,
    state_of,
)
from storage.errors import EnvironmentFault, UsageError
from stream.cli import main

DESIGN = {
    "sam": ["tiny", "small", "base-plus", "large", "mini", "mini-groups"],
    "pose": [
        "dwpose-l-384",
        "dwpose-l-256",
        "dwpose-m-256",
        "rtmw-performance",
        "rtmw-balanced",
        "rtmw-lightweight",
        "mini",
    ],
    "detector": ["yolox-m", "yolox-tiny", "mini"],
}
KEYS = {"name", "kind", "path", "config", "present", "bytes", "sha256", "url", "licence"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKATE_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def skate(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_the_names_are_those_of_the_design() -> None:
    assert {kind: names(kind) for kind in KINDS} == DESIGN
    assert all(find(kind, name) for kind, name in DEFAULTS.items())


@pytest.mark.parametrize("model", [model for model in MODELS if not model.packaged], ids=lambda model: model.name)
def test_the_table_is_well_formed(model: registry.ModelFile) -> None:
    assert model.url is not None and urlsplit(model.url).scheme == "https"
    hashes = [model.sha256, model.archive.sha256 if model.archive else None]
    assert any(hashes) and all(value is None or re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert "/" not in model.file_name and model.hash_source and model.licence == "Apache-2.0"
    assert (model.config is not None) == (model.kind == "sam") and model.input_size is not None


def test_file_names_are_unique() -> None:
    assert len({model.file_name for model in MODELS}) == len(MODELS)
    hashes = [model.sha256 for model in MODELS if model.sha256]
    assert len(set(hashes)) == len(hashes)


def test_every_config_is_in_the_package() -> None:
    for model in MODELS:
        if model.config and not model.packaged:
            assert registry.packaged(model.config).is_file(), model.config


def test_the_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert models_folder() == folder
    monkeypatch.setenv("SKATE_MODELS", "~/weights")
    assert models_folder() == Path.home() / "weights"
    monkeypatch.delenv("SKATE_MODELS")
    assert models_folder().parts[-2:] == ("skate-physics-preserver", "models")


@pytest.mark.parametrize(("kind", "name"), [("sam", "tiny"), ("pose", "rtmw-balanced"), ("detector", "yolox-m")])
def test_missing_weights_are_told_in_one_line(kind: registry.Kind, name: str, folder: Path) -> None:
    model = find(kind, name)
    assert model is not None and model.url is not None
    with pytest.raises(EnvironmentFault) as caught:
        resolve(kind, name)
    text = str(caught.value)
    assert "\n" not in text
    for part in (model.file_name, model.url, str(folder / model.file_name), f"skate models fetch {name}"):
        assert part in text


def test_present_weights_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = find("sam", "tiny")
    assert tiny is not None
    small = replace(tiny, size_bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    monkeypatch.setattr(registry, "MODELS", (small,))
    (folder / small.file_name).write_bytes(b"abc")
    found = resolve("sam", "tiny")
    assert found.path == folder / small.file_name and found.sha256 == small.sha256
    assert found.config_path == registry.packaged("sam/tiny.yaml") and found.input_size == (1024, 1024)
    assert state_of(small).present
    (folder / small.file_name).write_bytes(b"ab")
    assert not state_of(small).present
    with pytest.raises(EnvironmentFault, match="it has 2 bytes, it must have 3; run `skate models fetch tiny`"):
        resolve("sam", "tiny")


def test_a_recorded_hash(folder: Path) -> None:
    model = find("pose", "dwpose-m-256")
    assert model is not None and state_of(model).hash_state == "archive"
    path = path_of(model)
    path.write_bytes(b"abc")
    assert resolve("pose", model.name).sha256 is None
    registry.recorded_path(path).write_text("no hash")
    assert resolve("pose", model.name).sha256 is None
    registry.recorded_path(path).write_text(f"{'AB' * 32}  {path.name}\n")
    assert resolve("pose", model.name).sha256 == "ab" * 32 and state_of(model).hash_state == "recorded"


def test_paths(tmp_path: Path) -> None:
    weights, config = tmp_path / "mine.pt", tmp_path / "mine.yaml"
    weights.write_bytes(b"1")
    onnx = tmp_path / "plain"
    onnx.write_bytes(b"1")
    assert resolve("pose", str(onnx)) == registry.Resolved("pose", str(onnx), onnx, None, None, None)
    with pytest.raises(UsageError, match="needs --sam-config"):
        resolve("sam", str(weights))
    config.write_text("a: 1")
    assert resolve("sam", str(weights)).config_path == config
    other = tmp_path / "other.yaml"
    other.write_text("a: 1")
    assert resolve("sam", str(weights), other).config_path == other
    meta = tmp_path / "sam2.1_hiera_large.pt"
    meta.write_bytes(b"1")
    assert resolve("sam", str(meta)).config_path == registry.packaged("sam/large.yaml")


def test_a_file_without_end_is_no_model(tmp_path: Path) -> None:
    """It would be hashed for hours."""
    path = tmp_path / "sam.pt"
    path.touch()
    os.truncate(path, 1 << 40)  # a hole: it takes no room
    with pytest.raises(EnvironmentFault, match="has 1099511627776 bytes, no sam model is larger"):
        registry.resolve("sam", str(path))
    config = path.rename(tmp_path / "sam.yaml")
    path.write_bytes(b"weights")
    for given in (config, None):  # named, or found beside the weights
        with pytest.raises(EnvironmentFault, match=r"sam\.yaml has 1099511627776 bytes, a config has a few thousand"):
            registry.resolve("sam", str(path), given)


def test_wrong_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--sam smal: no sam model .*known are tiny, small, base-plus, large, mini"):
        resolve("sam", "smal")
    for missing in (str(tmp_path / "no.onnx"), "no.onnx", "some/file"):
        with pytest.raises(EnvironmentFault, match=r"--pose .*does not exist"):
            resolve("pose", missing)
    with pytest.raises(EnvironmentFault, match=r"--sam-config .*does not exist"):
        resolve("sam", "tiny", tmp_path / "no.yaml")
    with pytest.raises(UsageError, match="no model is called 'x'"):
        registry.named(["tiny", "x"])


def test_the_mini_models_ship_with_the_package() -> None:
    for kind in KINDS:
        model = find(kind, "mini")
        assert model is not None
        path = path_of(model)
        if not path.is_file():
            pytest.skip(f"{path.name} has not been built")
        assert resolve(kind, "mini").path == path
        assert state_of(model).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert skate("models", "list", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["kind"], row["name"]) for row in rows] == [(model.kind, model.name) for model in MODELS]
    assert all(set(row) == KEYS for row in rows)
    tiny = rows[0]
    assert tiny["present"] is False and tiny["bytes"] == 156008466 and len(tiny["sha256"]) == 64
    assert tiny["url"].endswith("/092824/sam2.1_hiera_tiny.pt") and tiny["config"].endswith("sam/tiny.yaml")


def test_list_as_table(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert skate("models", "list") == 0
    out = capsys.readouterr().out
    assert str(folder) in out and re.search(r"^small\* +sam +184\.4 MB +Apache-2\.0 +no +pinned", out, re.MULTILINE)
    assert max(map(len, out.splitlines()[2:])) <= 140
    assert skate("models", "list", "--long") == 0
    assert "https://dl.fbaipublicfiles.com" in capsys.readouterr().out


def test_fetch_of_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert skate("models", "fetch") == 2
    assert skate("models", "fetch", "nothing") == 2
    assert skate("models", "fetch", "tiny", "--mirror", "ftp://host/") == 2
    assert "--mirror ftp://host/" in capsys.readouterr().err
    assert skate("models", "fetch", "mini") == 0
    assert capsys.readouterr().out.count("already there") == 3


def test_fetch_without_network(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "*")
    assert skate("models", "fetch", "tiny", "--mirror", "http://127.0.0.1:9/x") == 4
    assert "no connection to 127.0.0.1" in capsys.readouterr().err


def test_verify(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert skate("models", "verify", "tiny") == 4
    assert "missing" in capsys.readouterr().out
    model = find("pose", "dwpose-m-256")
    assert model is not None
    path = path_of(model)
    path.write_bytes(b"abc")
    assert skate("models", "verify") == 4
    assert "dwpose-m-256 (pose): unverified" in capsys.readouterr().out
    registry.recorded_path(path).write_text(f"{hashlib.sha256(b'abc').hexdigest()}  x\n")
    assert skate("models", "verify", "dwpose-m-256", "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    path.write_bytes(b"abd")
    assert skate("models", "verify", "--json") == 4
    *rows, error = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows if row["name"] == "dwpose-m-256"] == ["damaged"]
    assert error["event"] == "error" and error["code"] == 4 and "skate models fetch dwpose-m-256" in error["message"]


def test_the_registry_is_light() -> None:
    code = "import sys, stages.models.registry; print([m for m in ('numpy', 'torch', 'requests') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_documentation_names_every_file() -> None:
    page = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    for model in MODELS:
        if not model.packaged:
            assert f"`{model.name}`" in page and f"`{model.file_name}`" in page


def test_weights_of_another_content_are_refused() -> None:
    model = resolve("pose", "mini")
    assert check_content(model) is model, "nobody knows what it must be"
    assert check_content(replace(model, sha256=content_sha256(model.path))).sha256 is not None
    with pytest.raises(EnvironmentFault, match=r"pose model .*pose\.onnx is damaged: its sha256 is .*, not 0000"):
        check_content(replace(model, sha256="0" * 64))
