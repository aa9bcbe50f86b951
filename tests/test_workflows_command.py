"""`skate workflows`, and `skate models fetch --for`: recipes for a person, and their files into a ComfyUI."""

import hashlib
import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from _runs import invoke
from fake_comfy import FakeComfy

from stages.choices import PROFILES
from stages.models.table import ModelFile
from stages.recipes import files as files_module
from stages.recipes.files import SERVER_FILES, server_files
from stages.recipes.registry import FINDING, RECIPES, files_of

SAM3 = "sam3.1_multiplex_fp16.safetensors"


def test_the_list_is_of_the_names_that_are_fixed() -> None:
    names = ["vace", "vace-reference", "vace-gguf", "vace-two-contexts", "vace-14b", "vace-22", "vace-vhs"]
    names += ["vace-wrapper", "wan-animate", "scail2", "cogvideox-fun", "void"]
    rows = [json.loads(line) for line in invoke(["workflows", "list", "--json"]).out.splitlines()]
    assert [row["name"] for row in rows] == names
    keys = ["name", "frames", "carried", "size_step", "fps", "models", "nodes", "licence"]
    assert all(list(row) == keys for row in rows)
    geometry = {row["name"]: (row["frames"], row["carried"], row["size_step"], row["fps"]) for row in rows}
    assert geometry["vace"] == (81, None, 16, 16.0) and geometry["wan-animate"] == (77, 5, 16, 16.0)
    assert geometry["scail2"] == (81, 5, 32, 16.0) and geometry["cogvideox-fun"] == (49, 0, 16, 8.0)
    assert geometry["void"] == (85, 0, 16, 12.0)
    assert "vace*" in invoke(["workflows", "list"]).out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_with_its_places_settings_and_files(name: str) -> None:
    told = invoke(["workflows", "show", name]).out
    for profile in RECIPES[name].profiles:
        assert f"profile    {profile}: " in told
    for file in server_files(name, PROFILES):
        assert f"models/{file.file_name}" in told
    assert f"skate models fetch --for {name} --comfy DIR" in told and "value      steps: node 21, steps" in told
    graph = json.loads(invoke(["workflows", "show", name, "--graph"]).out)
    assert all("class_type" in node for node in graph.values())


def test_a_name_that_is_none() -> None:
    found = invoke(["workflows", "show", "vacee"])
    assert found.code == 3 and "neither a recipe (vace, vace-reference" in found.err


def test_what_a_server_lacks_is_named_with_the_command_that_gets_it() -> None:
    with FakeComfy(without=frozenset(["wan_2.1_vae.safetensors"])) as server:
        found = invoke(["workflows", "check", "vace", "--server", server.address])
        assert found.code == 3 and "wan_2.1_vae.safetensors is missing: put it into" in found.out
        assert "run `skate models fetch --for vace --comfy DIR` there" in found.err
        told = json.loads(
            invoke(["workflows", "check", "vace", "--server", server.address, "--json"]).out.split("\n")[0]
        )
        assert told["files"] == ["wan_2.1_vae.safetensors"] and len(told["missing"]) == 1
    with FakeComfy() as server:
        assert invoke(["workflows", "check", "wan-animate", "--server", server.address]).code == 0
        fast = invoke(["workflows", "check", "vace-14b", "--server", server.address, "--profile", "fast"])
        assert (
            fast.code == 3 and "models/loras" in fast.out and "--for vace-14b --comfy DIR --profile fast`" in fast.err
        )
    with FakeComfy(without=frozenset(["WanSCAILToVideo"])) as server:
        old = invoke(["workflows", "check", "scail2", "--server", server.address])
        assert old.code == 3 and "WanSCAILToVideo is missing: install a newer ComfyUI" in old.out
    assert invoke(["workflows", "check", "vace", "--server", "127.0.0.1:9"]).code == 5
    with FakeComfy(without=frozenset([SAM3, "SAM3_Detect"])) as server:
        told = invoke(["workflows", "check", FINDING, "--server", server.address])
        assert told.code == 3 and "SAM3_Detect is missing: install a newer ComfyUI" in told.out
        assert f"{SAM3} is missing: put it into ComfyUI's models/checkpoints" in told.out
        assert "run `skate models fetch --for sam3-detect --comfy DIR` there" in told.err
    with FakeComfy() as server:
        assert invoke(["workflows", "check", FINDING, "--server", server.address]).code == 0


def test_what_find_asks_is_shown_as_the_recipes_are() -> None:
    told = invoke(["workflows", "show", FINDING])
    assert told.code == 0 and f"file       models/checkpoints/{SAM3} (1.7 GB, SAM License)" in told.out
    assert "get them   skate models fetch --for sam3-detect --comfy DIR\n" in told.out
    graph = json.loads(invoke(["workflows", "show", FINDING, "--graph"]).out)
    assert graph["1"]["inputs"]["ckpt_name"] == SAM3 and FINDING in invoke(["workflows", "list"]).out
    (file,) = server_files(FINDING)
    assert file.sha256 is not None and file.size_bytes == 1_745_546_848


# --- files for a server ---


def test_every_file_of_every_recipe_has_an_address() -> None:
    for name in RECIPES:
        for file in files_of(name, PROFILES):
            assert SERVER_FILES[file].url, file
    for name, item in SERVER_FILES.items():
        assert item.name == name and item.file_name.rpartition("/")[2] == name and item.licence
        assert item.url is not None and item.url.startswith("https://huggingface.co/") and "/resolve/" in item.url
        assert item.sha256 is None or len(item.sha256) == 64
    pinned = {item.sha256 for item in server_files("vace")}
    assert None not in pinned, "of the default recipe all are pinned"
    free = {name for name, item in SERVER_FILES.items() if item.sha256 is None or item.size_bytes is None}
    unstated = {"void_pass1.safetensors", "cogvideox_vae.safetensors"}
    unstated |= {name for name in SERVER_FILES if "CausVid" in name}
    assert free == unstated, "nobody states the hashes of these"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served; the default recipe's files are small ones that lie there."""
    folder = tmp_path / "host"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, *given: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    small = {}
    for name in files_of("vace", ("fast",)):
        data = name.encode() * 10
        (folder / name).write_bytes(data)
        old, url = SERVER_FILES[name], f"http://127.0.0.1:{server.server_address[1]}/{name}"
        digest = hashlib.sha256(data).hexdigest() if old.sha256 else None
        size = len(data) if old.size_bytes else None
        small[name] = ModelFile(name, "server", old.file_name, url, size, digest, old.licence, "")
    monkeypatch.setattr(files_module, "SERVER_FILES", small)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(comfy: Path, *more: str) -> Any:
    return invoke(["models", "fetch", "--for", "vace", "--comfy", str(comfy), *more])


def test_a_recipes_files_go_into_comfyuis_folders(tmp_path: Path, host: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    assert fetch(comfy).code == 3
    (comfy / "models").mkdir(parents=True)
    assert fetch(comfy).code == 0
    there = sorted(str(path.relative_to(comfy)) for path in comfy.rglob("*.safetensors"))
    assert there == [
        "models/diffusion_models/wan2.1_vace_1.3B_fp16.safetensors",
        "models/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        "models/vae/wan_2.1_vae.safetensors",
    ]
    (host / "wan_2.1_vae.safetensors").unlink()
    again = fetch(comfy, "--json")
    assert again.code == 0 and [json.loads(line)["fetched"] for line in again.out.splitlines()] == [False] * 3


def test_a_file_whose_hash_nobody_states_is_held_to_what_was_fetched_first(tmp_path: Path, host: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    (comfy / "models/loras").mkdir(parents=True)
    lora = comfy / "models/loras/Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors"
    first = fetch(comfy, "--profile", "fast")
    assert first.code == 0 and f"recorded in {lora.name}.sha256: nobody states its sha256" in first.out
    digest = hashlib.sha256(lora.read_bytes()).hexdigest()
    assert lora.with_name(f"{lora.name}.sha256").read_text() == f"{digest}  {lora.name}\n"
    again = fetch(comfy, "--profile", "fast", "--json")
    told = next(row for line in again.out.splitlines() if (row := json.loads(line))["name"] == lora.name)
    assert (told["fetched"], told["sha256"], told["pinned"]) == (False, digest, False)
    lora.write_bytes(lora.read_bytes()[::-1])
    changed = fetch(comfy, "--profile", "fast")
    assert changed.code == 4 and f"expected {digest}" in changed.err and "move it away" in changed.err
    lora.unlink()
    (host / lora.name).write_bytes(b"a part")
    short = fetch(comfy, "--profile", "fast")
    assert short.code == 4 and "another file" in short.err and not lora.exists(), "its length is known"


def test_what_does_not_match_is_refused(tmp_path: Path, host: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    vae = comfy / "models/vae/wan_2.1_vae.safetensors"
    vae.parent.mkdir(parents=True)
    vae.write_bytes(b"somebody's own")
    found = fetch(comfy)
    assert found.code == 4 and "move it away" in found.err and vae.read_bytes() == b"somebody's own"
    vae.unlink()
    served = host / vae.name
    served.write_bytes(b"x" * len(served.read_bytes()))
    found = fetch(comfy)
    assert found.code == 4 and "sha256" in found.err and not vae.exists()


def test_an_own_file_without_a_known_hash_is_left_alone(tmp_path: Path, host: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    lora = comfy / "models/loras/Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors"
    lora.parent.mkdir(parents=True)
    own = b"own" * 100
    lora.write_bytes((own * 10)[: len((host / lora.name).read_bytes())])  # of the length that is known
    found = fetch(comfy, "--profile", "fast")
    assert found.code == 0 and "not checked: nobody states" in found.out and lora.read_bytes().startswith(b"own")
    lora.write_bytes(b"somebody's own")
    assert fetch(comfy, "--profile", "fast").code == 4 and lora.read_bytes() == b"somebody's own"


@pytest.mark.parametrize("given", [["--for", "vace"], ["--comfy", "x"], ["--for", "vace", "--comfy", "x", "small"]])
def test_for_and_comfy_belong_together(given: list[str]) -> None:
    assert invoke(["models", "fetch", *given]).code == 2
    assert "no recipe has that name" in invoke(["models", "fetch", "--for", "nothing", "--comfy", "."]).err
