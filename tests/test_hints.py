"""Hints before and after a run, and the lines at its end."""

import dataclasses
from pathlib import Path

import pytest
from _runs import BOX, CLIP_OPTIONS, invoke, small_clip, small_models
from _small_run import small_run

from stages.prompts import Correction, ObjectPrompt
from stream.demo import DemoConfig
from stream.demo.job import clip_name
from stream.options.config import RunConfig
from stream.plan.hints import mini_hint, past_end_hints
from stream.report.closing import closing_hint

MINI = RunConfig(ObjectPrompt(box=(1, 2, 3, 4)), video="/a/clip.mp4", sam="mini", pose="mini", detector="mini")


def test_mini_models_on_another_clip() -> None:
    hint = mini_hint(MINI)
    assert hint is not None and "on clip.mp4 masks and poses will be wrong" in hint
    assert "`skate models fetch small dwpose-l-384 yolox-m`, then leave --sam, --pose and --detector out" in hint
    one = mini_hint(dataclasses.replace(MINI, sam="small", detector="yolox-m"))
    assert one is not None and "fetch dwpose-l-384`, then leave --pose out" in one
    assert mini_hint(dataclasses.replace(MINI, sam="small", pose="dwpose-l-384", detector="yolox-m")) is None
    assert mini_hint(dataclasses.replace(MINI, video="/a/demo-640x360-201-seed1.mp4")) is None
    cuts = clip_name(DemoConfig(camera="cuts", skaters=3, boards=2))
    assert mini_hint(dataclasses.replace(MINI, video=f"/a/{cuts}")) is None
    given = mini_hint(dataclasses.replace(MINI, chain="given"))
    assert given is not None and "leave --sam out" in given


def test_prompts_past_the_end_that_the_header_claims() -> None:
    config = dataclasses.replace(
        MINI, prompt=ObjectPrompt(frame=20, box=(1, 2, 3, 4)), correct=(Correction(30, (1, 2, 3, 4)),)
    )
    assert [hint.split()[1:3] for hint in past_end_hints(config, 20)] == [["--prompt-frame", "20"], ["--correct", "30"]]
    assert past_end_hints(config, 31) == [] == past_end_hints(config, None)


def test_the_end_of_a_run_tells_where_everything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, models = small_clip(tmp_path), small_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = invoke(["run", str(clip), "--out", "RUN", *BOX, *models, *CLIP_OPTIONS, "--comparison"])
    ends = {line.split()[0]: line.split()[-1] for line in result.out.splitlines()}
    assert Path(ends["compare"]) == Path("RUN/comparison.mp4") and Path(ends["compare"]).is_file()
    assert Path(ends["report"]) == Path("RUN/report/index.html") and Path(ends["report"]).is_file()
    assert result.out.splitlines()[-1].startswith("hint     the mini models") and "hint     the mini" in result.err
    as_json = invoke(["resume", "RUN", "--json"])
    assert len(as_json.out.splitlines()) == 1 and "hint     the mini models" in as_json.err


def test_closing_hint_of_a_run() -> None:
    assert "leave --pose and --detector out" in (closing_hint(small_run()) or "")
