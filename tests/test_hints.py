"""Hints before and after a run, and the lines at its end."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest
from _runs import BOX, CLIP_OPTIONS, invoke, small_clip, small_models
from _small_run import small_run

from stages.prompts import Correction, ObjectPrompt
from stages.recipes.registry import graph_file, own_text
from stages.server.workflow import load_workflow
from stream.demo import DemoConfig
from stream.demo.job import clip_name
from stream.options.config import RunConfig
from stream.plan.hints import distilled_hints, mini_hint, past_end_hints
from stream.report.closing import closing_hint, subject_lines
from stream.report.result import Result

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
    assert given is not None and "leave --sam out" in given and "clip.mp4 the gate will be wrong" in given


def test_prompts_past_the_end_that_the_header_claims() -> None:
    config = dataclasses.replace(
        MINI, prompt=ObjectPrompt(frame=20, box=(1, 2, 3, 4)), correct=(Correction(30, (1, 2, 3, 4)),)
    )
    assert [hint.split()[1:3] for hint in past_end_hints(config, 20)] == [["--prompt-frame", "20"], ["--correct", "30"]]
    assert past_end_hints(config, 31) == [] == past_end_hints(config, None)


def workflow_with(tmp_path: Path, text: object, lora: str | None = None) -> str:
    """The packaged graph with another positive text, and with a loader of LoRAs."""
    path = graph_file("vace")
    graph = json.loads(path.read_text())
    node = load_workflow(path).points.prompt
    assert node is not None
    graph[node[0]]["inputs"][node[1]] = text
    if lora is not None:
        graph["lora"] = {"class_type": lora, "inputs": {"lora_name": "causvid.safetensors"}}
    (tmp_path / "own.json").write_text(json.dumps(graph))
    return str(tmp_path / "own.json")


@pytest.mark.parametrize(("steps", "cfg"), [(9, None), (None, 1.0), (4, 1.0)])
def test_few_steps_without_a_lora(steps: int | None, cfg: float | None, tmp_path: Path) -> None:
    config = dataclasses.replace(MINI, generator="comfyui", text="x", steps=steps, cfg=cfg)
    (hint,) = distilled_hints(config)
    for value, option in ((steps, "--steps 4" if steps == 4 else "--steps 9"), (cfg, "--cfg 1")):
        assert (option in hint) == (value is not None)
    assert "loads no LoRA" in hint
    for loader in ("LoraLoaderModelOnly", "Power Lora Loader (rgthree)", "WanVideoLoraSelect"):
        assert distilled_hints(dataclasses.replace(config, workflow=workflow_with(tmp_path, "x", loader))) == []
    assert distilled_hints(dataclasses.replace(config, workflow=workflow_with(tmp_path, "x"))) == [hint]
    assert distilled_hints(dataclasses.replace(config, generator="preview")) == []
    assert distilled_hints(dataclasses.replace(config, steps=10, cfg=1.5)) == []


def test_text_that_is_a_workflows_own(tmp_path: Path) -> None:
    texts = {"a samurai": True, "": False, "a skater riding a skateboard, natural light, sharp, detailed": False}
    for text, own in texts.items():
        assert own_text(load_workflow(Path(workflow_with(tmp_path, text)))) == own
    assert own_text(load_workflow(Path(workflow_with(tmp_path, ["1", 0])))), "another node makes it"


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


def test_what_was_never_found_or_lost_is_told() -> None:
    seen = Result(
        Path("RUN"), 20, 1, "passed", 1.0, 1.0, 1.0, 0, [], [(0, 20)], None, None, object_frames=20,
        object_lost_frames=0, person_frames=20, subjects={},
        bad_frames=0, claimed_frames=20, cut_short=None, seconds=1.0, peak_rss_bytes=1,
        peak_vram_bytes=None, output=None,
    )  # fmt: skip
    assert subject_lines(seen) == ["object   seen in 20 of 20 frames", "person   seen in 20 of 20 frames"]
    lost, nobody = subject_lines(replace(seen, object_frames=8, object_lost_frames=12, person_frames=0))
    assert "the object was lost for 12 frames" in lost and "--correct" in lost
    assert nobody.startswith("person   was never found") and "--person-box" in nobody
