"""README and docs/ say what is so: links lead somewhere, quoted error lines and exit codes are the program's own."""

import json
import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest
from _documents import PAGES, ROOT
from _runs import invoke
from _small_run import small_run

from storage import errors
from stream.batch.plan import Forecast
from stream.batch.status import Row
from stream.demo.group import GroupAccuracy
from stream.demo.identities import IdentityScores
from stream.demo.job import Accuracy
from stream.report.result import Result
from stream.report.summary import Summary


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def source_text() -> str:
    """All of the program's source, with literals that are split over lines joined."""
    files = [path for folder in ("stream", "stages", "storage") for path in sorted((ROOT / folder).rglob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_error_lines_are_the_programs_own() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| the line says | what to do |")[1].split("\n\n")[0]
    fragments = [fragment for row in table.splitlines()[2:] for fragment in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(fragments) >= 14
    source = source_text()
    for fragment in fragments:
        assert fragment in source, f"no error says '{fragment}'"


def test_exit_codes_are_the_programs_own() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Exit codes")[1].split("##")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.SkateError)
    ]
    assert listed == {0, 1} | {each.exit_code for each in classes}


def test_pictures_are_as_the_code_is() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert script["drawn"](page) == page, "run: python docs/pictures.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_prose_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:stream|stages|storage|bench|tests|docs|training|requirements)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_fault_point_is_listed() -> None:
    listed = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("Fault points")[1].split("\n\n")[0]
    for name in re.findall(r'fault_point\(f?"([^"]+)"\)', source_text()):
        assert f"`{re.sub(r'{.*}', 'STAGE', name)}`" in listed, name


def test_the_last_line_of_a_run_has_the_fields_of_the_result() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith('| `{"event": "done", "run"'))
    assert re.findall(r'"(\w+)"', line.split("`")[1])[2:] == [field.name for field in fields(Result)]


FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def row_of(words: str) -> str:
    """The row of docs/formats.md that has these words in its cell of what it is for."""
    (found,) = (line for line in FORMATS.splitlines() if line.startswith("| ") and words in line.split("` | ")[-1])
    return found


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("`skate evaluate`; ", ["evaluate", "RUN", "--no-baselines"]),
        ("`skate status`; ", ["status", "RUN"]),
        ("of `skate check`; ", ["check"]),
        ("of `skate models list`; ", ["models", "list"]),
        ("of `skate workflows list`; ", ["workflows", "list"]),
    ],
)
def test_the_lines_of_other_commands_have_the_fields_that_are_listed(words: str, command: list[str]) -> None:
    ended = invoke([str(small_run()) if word == "RUN" else word for word in [*command, "--json"]])
    listed = re.findall(r'"(\w+)"', row_of(words).split("` | ")[0])
    names = list(json.loads(ended.out.splitlines()[-1]))
    assert names == [name for name in listed if name in names] and set(listed) <= {*names, "done", "check"}


def test_the_lines_of_a_batch_have_the_fields_that_are_listed() -> None:
    for words, kind in (("`skate batch status`", Row), ("`skate batch plan`", Forecast)):
        listed = re.findall(r'"(\w+)"', row_of(words).split("[{")[1].split("}]")[0])
        assert [name for name in listed if name != "cost"] == [field.name for field in fields(kind)]


def test_the_truth_of_a_demo_has_the_fields_that_are_listed() -> None:
    alone = Accuracy(1.0, 1.0, 9, 1.0, 0, 0, 1.0, 0.1, 1.0, None, None, 30.0, 0.1, 0.9)
    group = GroupAccuracy({"board": (1.0, 1.0)}, IdentityScores(1.0, 1.0, 0), 0.8)
    row = row_of("`skate demo`")
    told = [*alone.to_json(), *group.to_json()]
    assert {"motion_error_px", "contact_f1", "amodal_iou_mean"} <= set(told)
    for name in told:
        assert f'"{name}"' in row or f"`{name}`" in row, name


def test_every_field_of_the_summary_and_every_array_is_listed() -> None:
    summary = next(line for line in FORMATS.splitlines() if line.startswith("| `summary.json`"))
    for field in fields(Summary):
        assert f"`{field.name}`" in summary, field.name
    table = FORMATS.split("| array | |")[1].split("## ")[0]
    group = small_run() / "run.zarr"
    arrays = [
        path.parent.relative_to(group).as_posix() for path in group.rglob("zarr.json") if "shape" in path.read_text()
    ]
    assert {"times", "masks/object", "motion_inliers"} <= set(arrays)
    for name in arrays:
        assert f"`{name}`" in table, name
