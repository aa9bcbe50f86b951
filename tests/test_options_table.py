"""The table of options: complete, one parser and one place for bounds; hostile values; options in a TOML file."""

import dataclasses
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from _runs import BOX, invoke
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench import measure
from stages.recipes.registry import workflow_file
from storage.bounds import Bounds
from storage.errors import UsageError
from stream.demo import job
from stream.options import settings as settings_module
from stream.options.config import RunConfig
from stream.options.standing import standing_config
from stream.options.table import GENERATION, GIVEN, OPTIONS, SCENE, TRACKING, Option, options_for, picked
from stream.options.values import FLAG
from stream.run import lifecycle

RUN = [item for item in options_for(TRACKING, GENERATION) if item.kind is not FLAG]
OF_THE_PROMPT = {"box", "point", "object_mask", "prompt_frame"}
NO_FIELD = {"out", "as_json", "overwrite", "max_fetch", "fetch_timeout", "write_scene", "find"}
NOT_ASKED = {"prompt", "video", "chain", "reskins", "gated", "correct_person"}
HOSTILE = [
    *(
        "nan",
        "-nan",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "-0.0",
        "0",
        "1e308",
        "9" * 5000,
        "-" + "9" * 5000,
        "0." + "9" * 5000,
    ),
    *("9" * 30, str(2**63), str(2**64), "", " ", ",", ",,,", "x", ":", "0x0", "1,2,nan,4", "1,2,inf,4", "nan,nan"),
    *(f"{'9' * 5000},1,2,3", f"{'9' * 5000}:1,2,3,4", f"{'9' * 5000}x{'9' * 5000}", "\u00b2", "\u0663", "1_000", "--"),
    *("a" * 5000, "9" * 4000 + "GB", "a/" * 3000),
]


def test_every_option_has_its_field_and_every_field_its_option() -> None:
    fields = {item.name for item in dataclasses.fields(RunConfig)}
    parameters = [item.parameter for item in OPTIONS]
    assert len(parameters) == len(set(parameters))
    assert set(parameters) - OF_THE_PROMPT - NO_FIELD == fields - NOT_ASKED
    for purpose in ((TRACKING, GENERATION), (TRACKING, SCENE), (GENERATION, GIVEN)):
        names = [item.name for item in options_for(*purpose)]
        assert len(names) == len(set(names))
    assert len(options_for(TRACKING, GENERATION)) == len(OPTIONS) - 7


def test_defaults_lie_within_their_bounds_and_are_those_of_the_config() -> None:
    plain = {item.name: item.default for item in dataclasses.fields(RunConfig)}
    for item in OPTIONS:
        if item.default is None or item.kind is FLAG:
            continue
        value = item.kind.read(item.default)
        item.check(value)
        if item.parameter in plain and item.parameter != "device":
            assert value == plain[item.parameter], item.name


def test_only_the_table_knows_bounds() -> None:
    for item in OPTIONS:
        if item.bounds is not None:
            for outside in (item.bounds.low - 1, item.bounds.high * 2 + 1, math.nan, math.inf, 10**400):
                with pytest.raises(UsageError, match=item.name):
                    item.check(outside)
    with pytest.raises(UsageError, match=r"--iou-threshold 1 is outside 0\.\.1, without its ends"):
        picked("iou_threshold")[0].check(1)
    assert 0.5 in Bounds(0, 1, open=True) and 0 not in Bounds(0, 1, open=True) and 0 in Bounds(0, 1)


class Begun(Exception):
    """The run would begin now."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    path.write_bytes(b"only looked at")
    return path


@pytest.fixture(autouse=True)
def only_prepared(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What would be run: everything up to the resolved config happens, nothing after it."""
    configs: list[RunConfig] = []

    def start(config: RunConfig, *rest: Any, **more: Any) -> None:
        configs.append(config)
        raise UsageError("BEGUN")

    for module in (lifecycle, measure, job):  # all that hold it: one imported meanwhile would keep the replacement
        monkeypatch.setattr(module, "start", start)
    monkeypatch.setattr(settings_module, "resolve_device", lambda wanted: "cpu")
    return configs


def run(clip: Path, arguments: list[str]) -> tuple[bool, int, str]:
    """(whether the run would begin, exit code, what was told)."""
    found = invoke(["run", str(clip), *arguments])
    return "BEGUN" in found.err, found.code, found.err + found.out


def around(item: Option) -> list[str]:
    """The options that must stand beside it."""
    given = [] if item.parameter in OF_THE_PROMPT - {"prompt_frame"} else BOX
    return given if item.parameter == "out" else [*given, "--out", "OUT"]


@pytest.mark.parametrize("item", RUN, ids=lambda item: item.parameter)
def test_hostile_values_end_in_one_line_or_in_a_run(item: Option, clip: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    number = item.bounds is not None or item.kind.form in ("N", "X", "SIZE", "WxH", "x1,y1,x2,y2", "x,y[,label]")
    for text in HOSTILE:
        begun, code, told = run(clip, [*around(item), f"{item.name}={text}"])
        assert code == 2 or (not number and code == 3), (text[:40], code, told[:300])
        assert begun or (told.startswith("skate: ") and len(told.splitlines()) == 1 and len(told) < 600), told[:300]
    assert not list(tmp_path.iterdir()), "nothing is written before the run begins"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(item=st.sampled_from(RUN), value=st.one_of(st.floats().map(repr), st.integers().map(str), st.text(max_size=30)))
@example(item=picked("seed")[0], value="9" * 5000)
@example(item=picked("dilate")[0], value="8,-1")
def test_any_value_ends_in_one_line_or_in_a_run(item: Option, value: str, clip: Path, tmp_path: Path) -> None:
    if item.parameter == "out" or "\0" in value:
        return  # an argument holds no null byte
    begun, code, told = run(clip, [*around(item), f"{item.name}={value}"])
    assert begun or code in (2, 3), told
    assert code != 70


def test_a_number_that_is_taken_lies_within_its_bounds(clip: Path, only_prepared: list[RunConfig]) -> None:
    for item in RUN:
        if item.bounds is None or item.parameter in NO_FIELD | OF_THE_PROMPT:
            continue
        for value in (item.bounds.low, item.bounds.high):
            only_prepared.clear()
            text = str(int(value)) if item.kind.form != "X" else repr(float(value))
            begun, _, told = run(clip, [*around(item), f"{item.name}={text}"])
            assert begun != item.bounds.open or item.parameter == "retries", (item.name, value, told)


TOML = """
seed = 7
[object]
box = [1, 2, 30, 40.5]
correct = ["9:1,2,3,4", "12:5,6,7,8"]
[generator]
server = "127.0.0.1:8188"
size = [832, 480]
[look]
prompt = 'a "samurai"'
dilate = [9, 4]
[machine]
sam-compile = true
ram = "8GB"
[output]
out = "OUT"
"""


def written(folder: Path, text: str) -> str:
    path = folder / "skate.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_gives_options_and_the_command_line_wins(
    clip: Path, tmp_path: Path, only_prepared: list[RunConfig]
) -> None:
    file = written(tmp_path, TOML)
    assert run(clip, ["--config", file, "--seed", "8"])[0]
    config = only_prepared[-1]
    assert config.prompt is not None
    assert (config.seed, config.prompt.box, config.size) == (8, (1.0, 2.0, 30.0, 40.5), (832, 480))
    assert [item.frame for item in config.correct] == [9, 12] and config.server == ("127.0.0.1:8188",)
    assert (config.text, config.dilate, config.ram, config.sam_compile) == ('a "samurai"', (9, 4), 8 * 10**9, True)
    assert config.generator == "comfyui"


def test_files_are_found_from_any_folder_and_names_stay_names(
    clip: Path, tmp_path: Path, only_prepared: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone on with from elsewhere looks for them again."""
    files = {"sam": "own.pt", "sam_config": "own.yaml", "pose": "own.onnx", "reference": "own.png", "detector": "mini"}
    files["workflow"] = "own.json"
    for name in files.values():
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "own.json").write_bytes(workflow_file("vace-reference").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = [word for name, value in files.items() for word in (f"--{name.replace('_', '-')}", value)]
    begun, _, told = run(clip, ["--out", "x", *BOX, "--server", "127.0.0.1:8188", "--prompt", "a robot", *words])
    assert begun, told
    begun_with = standing_config(only_prepared[-1])
    named = {name: getattr(begun_with, name) for name in files}
    assert named == {name: str(tmp_path / file) for name, file in files.items()} | {"detector": "mini"}


@pytest.mark.parametrize("option", ["--write-config", "--write-scene"])
def test_nothing_else_is_written_over(option: str, clip: Path, tmp_path: Path) -> None:
    words = ["run", str(clip), "--out", str(tmp_path / "x"), *BOX, option]
    for name, held in (("a.json", b"[{}]"), ("a.toml", b"[[subjects]]\nx = 1\n"), ("clip.toml", clip.read_bytes())):
        (tmp_path / name).write_bytes(held)
        told = invoke([*words, str(tmp_path / name)])
        assert told.code == 3 and f"{option} {tmp_path / name}: something else is there already" in told.err
        assert (tmp_path / name).read_bytes() == held
    (tmp_path / "new.toml").write_bytes(b"\xef\xbb\xbf" if option == "--write-config" else b"")
    for _ in range(2):
        assert invoke([*words, str(tmp_path / "new.toml")]).code == 0
    assert (tmp_path / "new.toml").stat().st_size


def test_what_is_written_gives_the_same_run(clip: Path, tmp_path: Path, only_prepared: list[RunConfig]) -> None:
    file, again = written(tmp_path, TOML), tmp_path / "again.toml"
    more = ["--point", "5,6,0", "--point", "7.25,8"]
    many = [*more, "--out", "x", "--fps", "23.976", "--prompt", 'tab\t"quoted" \\ é', "--vram", "7.5GiB"]
    for arguments in (["--config", file, "--keep", "all"], many):
        assert run(clip, arguments)[0]
        wanted = only_prepared[-1]
        told = invoke(["run", str(clip), *arguments, "--write-config", str(again)])
        assert told.code == 0 and told.out == "" and len(only_prepared) % 2 == 1, "nothing is run"
        assert run(clip, ["--config", str(again)])[0]
        assert only_prepared[-1] == wanted
        printed = invoke(["run", str(clip), *arguments, "--write-config", "-"]).out
        assert printed == again.read_text() and tomllib.loads(printed)["output"]["out"]
        assert "# iou-threshold = 0.9  # Every frame must be above it." in printed


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("sead = 7", 2, "'sead' is no option of `skate run`: is 'seed' meant?"),
        ("[objects]\nbox = 1", 2, "[objects] is no group of options: clip, elsewhere, generator, look"),
        ("seed = 1\n[look]\nseed = 2", 2, "'seed' is given twice"),
        ("seed = true", 2, "seed = True: give a text, a number"),
        ("seed = 1979-05-27", 2, "seed = 1979-05-27: give a text"),
        ("seed = -1", 2, "--seed -1 is outside 0.."),
        ("seed = nan", 2, "'nan' is not a whole number"),
        ("fps = inf", 2, "'inf' is not a finite number"),
        ("comparison = 1", 2, "comparison = 1: give true or false"),
        ("box = [1, 2, 3]", 2, "'1,2,3' is not of the form x1,y1,x2,y2"),
        ("box = [[1, 2, 3, 4]]", 2, "give a text, a number, or several in brackets"),
        ('out = "a\\u0000b"', 2, "is not a path"),
        ("config = 'other.toml'", 2, "'config' stands on the command line alone"),
        ("json = true", 2, "'json' stands on the command line alone"),
        ("seed = " + "9" * 5000, 3, "is no TOML"),
        ("seed = ", 3, "is no TOML"),
        ("x = " + "[" * 5000, 3, "is no TOML"),
        ("a = 1\n" * 200_000, 3, "cannot be read (is larger than 1 MB)"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_faults_in_a_file_get_one_line(clip: Path, tmp_path: Path, text: str, code: int, words: str) -> None:
    prompt = [] if text.startswith("box") else BOX
    out = [] if text.startswith("out") else ["--out", "OUT"]
    begun, found, told = run(clip, [*prompt, *out, "--config", written(tmp_path, text)])
    assert not begun and found == code, told[:300]
    assert words in told and len(told.splitlines()) == 1 and len(told) < 600


def test_files_that_cannot_be_read_or_written(clip: Path, tmp_path: Path) -> None:
    assert run(clip, [*BOX, "--out", "x", "--config", str(tmp_path / "absent.toml")])[1:] == (
        3,
        f"skate: --config {tmp_path / 'absent.toml'}: cannot be read (No such file or directory)\n",
    )
    assert run(clip, [*BOX, "--out", "x", "--write-config", str(tmp_path / "no" / "x.toml")])[1] == 3


def test_one_file_serves_several_commands(clip: Path, tmp_path: Path, only_prepared: list[RunConfig]) -> None:
    file = written(tmp_path, TOML)
    assert "BEGUN" in invoke(["extract", str(clip), "--config", file]).err
    assert only_prepared[-1].chain == "extract" and only_prepared[-1].sam_compile
    assert "gpu" not in invoke(["extract", "--help-all"]).out


OWN = [
    ("demo", [], "frames"),
    ("demo", [], "clip-size"),
    ("demo", [], "clip-seed"),
    ("demo", [], "skaters"),
    ("demo", [], "boards"),
    ("demo", ["--camera", "cuts"], "shots"),
    ("bench", ["demo", "--out", "OUT"], "frames"),
    ("bench", ["demo", "--out", "OUT"], "clip-size"),
    ("bench", ["demo", "--out", "OUT"], "clip-seed"),
    ("redo", ["RUN", "--windows", "0"], "seed"),
    ("redo", ["RUN"], "windows"),
    ("resume", ["RUN"], "timeout"),
    ("evaluate", ["RUN"], "iou-threshold"),
    ("frame", ["clip.mp4", "--to", "x.png"], "at"),
    ("analyse", ["clip.mp4", "--to", "x.toml"], "detect-every"),
]


@pytest.mark.parametrize(("command", "beside", "key"), OWN, ids=lambda value: str(value))
def test_hostile_values_of_other_commands(
    command: str, beside: list[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import measure
    from stream.demo import job

    def begin(*given: Any, **named: Any) -> None:
        raise UsageError("BEGUN")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "run_demo", begin)
    monkeypatch.setattr(measure, "run_bench", begin)
    for text in HOSTILE:
        found = invoke([command, *beside, f"--{key}={text}"])
        assert found.code == 2 or (command in ("redo", "resume", "evaluate", "frame") and found.code in (3, 6)), text[
            :40
        ]
        assert len(found.err.splitlines()) == 1 and len(found.err) < 600, found.err[:300]


def test_choices_are_those_that_the_stages_know() -> None:
    from stages.choices import FILL_CHOICES, GUIDES, SHAPES
    from stages.pose import SMOOTH
    from stages.poses.draw import STYLES
    from stages.region import REMOVE, RESKIN_CHOICES
    from stages.track import ON_CUT
    from stages.vace.config import CONTINUITIES

    known = {
        "fill": FILL_CHOICES,
        "region": SHAPES,
        "object_guide": GUIDES,
        "continuity": CONTINUITIES,
        "pose_style": STYLES,
        "reskin": (*RESKIN_CHOICES, REMOVE),
        "smooth": SMOOTH,
        "on_cut": ON_CUT,
    }
    for item in picked(*known):
        for word in known[item.parameter]:
            assert item.kind.read(word) == word
        assert sorted(item.kind.what.removeprefix("one of ").split(", ")) == sorted(known[item.parameter])
