"""Exit codes and messages: one clear line, the right code, nothing lost. Runs in this process, to save imports."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _runs import CLIP_OPTIONS, invoke, small_clip, small_models

from stages.recipes.registry import graph_file
from storage.rundir import read_manifest
from stream.cli import _COMMANDS


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return small_models(tmp_path_factory.mktemp("sam"))


def test_help_starts_quickly() -> None:
    """Under half a second of CPU time: torch and the like are not imported for it."""
    code = "import resource, sys; sys.argv = ['skate', '--help']\nfrom stream.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "usage = resource.getrusage(resource.RUSAGE_SELF); print('CPU', usage.ru_utime + usage.ru_stime)\n"
    code += "heavy = {'torch', 'sam2', 'onnxruntime', 'rtmlib', 'zarr', 'cv2', 'av'}\n"
    code += "print('LOADED', sorted(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "LOADED []" in done.stdout
    assert float(done.stdout.split("CPU ")[1].split()[0]) < 0.5


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    result = invoke([command, "--help"])
    assert result.code == 0 and f"skate {command}" in result.out


@pytest.mark.parametrize("words", [[], ["models"]])
def test_no_command_shows_the_help(words: list[str]) -> None:
    result = invoke(words)
    assert result.code == 2 and result.err.startswith("Usage: skate") and "Commands:" in result.err


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_help_fits_a_screen(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen: 120 columns, 66 lines; one line an option."""
    monkeypatch.setenv("COLUMNS", "120")
    lines = invoke([command, "--help"]).out.splitlines()
    assert len(lines) <= 66 and max(map(len, lines)) <= 120


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_help_fits_a_narrow_screen(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    verbatim = ("  skate ",)  # commands to be copied are not wrapped
    assert all(
        len(line) <= 80 for line in invoke([command, "--help"]).out.splitlines() if not line.startswith(verbatim)
    )


def test_the_help_groups_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = invoke(["run", "--help-all"]).out.splitlines()
    groups = [line.split()[0] for line in lines if line[:1].isalpha() and "  " in line]
    assert groups == [
        "object",
        "subjects",
        "view",
        "look",
        "generator",
        "windows",
        "models",
        "machine",
        "clip",
        "output",
        "other",
    ]
    for fragment in (
        "--window N",
        "[default: the recipe's: 81]",
        "seconds.  [default: 3600.0]",
        "frames/s",
        "SIZE",
        "e.g. 8GB",
    ):
        assert any(fragment in line for line in lines), fragment
    short = invoke(["run", "--help"]).out
    assert 16 <= len(re.findall(r"^(?:[a-z]+)? +(?:-h, )?--[a-z]", short, re.MULTILINE)) <= 24
    assert "--box" in short and "--help-all" in short and "--sam-compile" not in short


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "Missing argument 'VIDEO'"),
        (["run", "VIDEO", "--box", "1,2,9,9"], 2, "Missing option '--out'"),
        (["run", "VIDEO", "--out", "OUT"], 2, "exactly one of --box, --point"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,3"], 2, "'1,2,3' is not of the form x1,y1,x2,y2"),
        (["run", "VIDEO", "--out", "OUT", "--box", "30,2,3,9"], 2, "--box 30,2,3,9 is empty or inverted"),
        (["run", "VIDEO", "--out", "OUT", "--box", ".4,.7,.6,.8"], 2, "--box 0.4,0.7,0.6,0.8 is smaller than a pixel"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--window", "80"], 2, "--window 80 is not 4n+1"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--vram", "lots"], 2, "'lots' is not a size"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--generator", "comfyui"], 2, "needs --server"),
        (["run", "VIDEO", "--out", "OUT", "--point", "5,5,7"], 2, "the label is 1"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--sam", "huge"], 2, "huge"),
        *[
            (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--correct", given], 2, "not of the form FRAME:x1,")
            for given in ("²:1,2,3,4", "x:1,2,3,4", "-1:1,2,3,4", "3", f"{'9' * 10}:1,2,3,4")
        ],
        *[
            (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--size", given], 2, "not of the form WxH")
            for given in ("8³2x480", "832x4⁸0", "0x480", "832", f"{'9' * 10}x480")
        ],
        (["redo", "OUT", "--windows", "²"], 2, "--windows ²: give numbers"),
        (["redo", "OUT", "--windows", "9" * 5000], 2, "give numbers with commas between"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--window", "100000000000000001"], 2, "is above 100001"),
        *[
            (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--ram", given], 2, f"'{given}' is not a size")
            for given in ("1e999", "1e400GB", "1e300TB", "0.0000001")
        ],
        *[
            (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", given], 2, "; give HOST:PORT")
            for given in ("a b", "http://%zz", "http://.", "a" * 300, "[::1", "a\x1b[2Jb", "a..b")
        ],
        (["run", "http://[::1/x", "--out", "OUT", "--box", "1,2,9,9"], 2, "Invalid IPv6 URL"),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", "127.0.0.1:9"], 2, "without a word of what"),
        (
            ["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", "127.0.0.1:9", "--prompt", " "],
            2,
            "without a word of what to make: give --prompt TEXT",
        ),
        (
            ["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", "127.0.0.1:9", "--workflow", "GGUF"],
            2,
            "without a word of what to make",
        ),
        (["models", "fetch", "small", "--mirror", "http://[::1"], 2, "Invalid IPv6 URL"),
        (["run", "nowhere.mp4", "--out", "OUT", "--box", "1,2,9,9"], 3, "nowhere.mp4: no such video file"),
        (["run", "VIDEO", "--out", "OUT", "--object-mask", "no.png"], 3, "--object-mask no.png: no such file"),
        (["run", "ftp://host/a.mp4", "--out", "OUT", "--box", "1,2,9,9"], 3, "http"),
        (["status", "OUT"], 6, "is no run directory"),
        (["resume", "OUT"], 6, "is no run directory"),
        (["evaluate", "OUT"], 6, "is no run directory"),
        (["evaluate"], 2, "evaluate takes one of"),
        (["frame", "VIDEO", "--at", "999", "--to", "OUT.png"], 3, "--at 999"),
        (["frame", "nowhere.mp4", "--to", "OUT.png"], 3, "nowhere.mp4: no such video file"),
        (["frame", "VIDEO", "--to", "out.jpg"], 2, "--to out.jpg: a PNG is written"),
        (["frame", "VIDEO", "--to", "OUT/no/f.png"], 4, "No such file or directory: choose a place"),
        (["generate", "VIDEO", "--out", "OUT"], 2, "is a video: give its tracking with --masks and --pose"),
        (["generate", "VIDEO", "--masks", "no", "--pose", "no", "--out", "OUT"], 3, "--masks no: no such folder"),
        (["run", ".", "--out", "OUT", "--box", "1,2,9,9"], 3, ".: is a folder, no video file: give the clip ("),
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--workflow", "w.json"], 2, "--server HOST:PORT too"),
        (
            ["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", "127.0.0.1:9", "--workflow", "VIDEO"],
            3,
            "is no JSON",
        ),
        (
            ["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--server", "127.0.0.1:9", "--workflow", os.devnull],
            3,
            "is no regular file",
        ),
        (["evaluate", "--metadata", os.devnull, "--generated", "VIDEO"], 3, "is no regular file"),
        (["demo", "--out", "OUT", "--clip-size", "999999x999999"], 2, "--clip-size"),
        (["demo", "--out", "OUT", "--fps", "12"], 2, "No such option '--fps'"),  # the truth is of the clip's own frames
        (["run", "VIDEO", "--out", "OUT", "--box", "1,2,9,9", "--iou-threshold", "90"], 2, "give for example 0.9"),
        (["nonsense"], 2, "No such command 'nonsense'. (see"),
        (["rn"], 2, "No such command 'rn'. Did you mean 'run'?"),
    ],
)
def test_mistakes_get_one_line_and_their_code(
    arguments: list[str], code: int, message: str, clip: Path, tmp_path: Path
) -> None:
    names = {"VIDEO": str(clip), "OUT": str(tmp_path / "out"), "OUT.png": str(tmp_path / "out.png")}
    names["GGUF"] = str(graph_file("vace-gguf"))
    result = invoke([names.get(word, word) for word in arguments])
    assert result.code == code, result.err
    assert message in result.err and len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_missing_weights_are_named_with_address_and_place(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKATE_MODELS", str(tmp_path / "models"))
    result = invoke(["run", str(clip), "--out", str(tmp_path / "out"), "--box", "1,2,9,9", "--sam", "tiny"])
    assert result.code == 4 and len(result.err.strip().splitlines()) == 1
    for part in ("sam2.1_hiera_tiny.pt", "https://", str(tmp_path / "models")):
        assert part in result.err
    assert not (tmp_path / "out").exists()


def test_errors_are_json_with_json(tmp_path: Path) -> None:
    result = invoke(["status", str(tmp_path), "--json"])
    event = json.loads(result.out)
    assert event["event"] == "error" and event["code"] == 6 and "no run directory" in event["message"]
    assert result.code == 6 and result.err == ""


def test_a_run_speaks_json_and_another_config_is_refused(clip: Path, models: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", str(clip), "--out", str(out), "--box", "20,20,60,60", *models, *CLIP_OPTIONS]
    first = invoke([*arguments, "--json"])
    assert first.code in (0, 1), first.err
    events = [json.loads(line) for line in first.out.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"window"}
    done = events[-1]
    assert done["event"] == "done" and done["frames"] == 20 and done["windows"] == 4
    wanted = {"run", "gate", "iou_mean", "iou_p5", "iou_min", "iou_min_frame", "failed_frames", "seconds", "output"}
    assert wanted | {"peak_rss_bytes", "peak_vram_bytes"} <= done.keys()
    assert done["object_frames"] + done["object_lost_frames"] == 20 and 0 < done["person_frames"] <= 20
    for event in events[:-1]:
        assert {"index", "stage", "frames", "seconds", "rss_bytes", "vram_peak_bytes"} <= event.keys()
    scores = [event for event in events if event.get("stage") == "score"]
    assert all(len(event["iou"]) == event["frames"][1] - event["frames"][0] for event in scores)

    again = invoke([*arguments, "--json", "--keep", "all", "--timeout", "5"])
    assert [json.loads(line)["event"] for line in again.out.splitlines()] == ["done"], "nothing is done twice"
    digest = read_manifest(out)["config_digest"]
    refused = invoke([*arguments, "--dilate", "3", "--seed", "4"])
    assert refused.code == 6
    assert "dilate: was [8, 8], now [3, 3]" in refused.err and "seed: was 0, now 4" in refused.err
    assert read_manifest(out)["config_digest"] == digest

    status = json.loads(invoke(["status", str(out), "--json", "--verify"]).out)
    assert status["state"] == "done" and status["frames"] == 20 and status["damaged"] == []
    assert set(status["done"].values()) == {4}


def test_extract_has_no_gate(clip: Path, models: list[str], tmp_path: Path) -> None:
    result = invoke(
        ["extract", str(clip), "--out", str(tmp_path / "x"), "--box", "20,20,60,60", "--json", *models, *CLIP_OPTIONS]
    )
    done = json.loads(result.out.splitlines()[-1])
    assert result.code == 0 and done["gate"] is None and done["output"] is None and done["frames"] == 20


def test_a_box_outside_the_frame_loses_nothing(clip: Path, models: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke(["run", str(clip), "--out", str(out), "--box", "1,2,900,60", *models, *CLIP_OPTIONS])
    assert result.code == 3 and "--box 1,2,900,60" in result.err.splitlines()[-1] and "160x90" in result.err


def test_the_installed_command_ends_with_the_same_codes(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "status", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6 and done.stderr.startswith("skate: ") and "Traceback" not in done.stderr
    assert time.monotonic() - started < 60
