"""What matters on a GPU alone, as far as it shows without one: leaving it to the generator, and `--sam-compile`."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from _runs import small_models
from _sam_fixture import moving_clip, plain_track, small_settings, write_small_sam

from stages.base import PICTURE, Array, Inputs, Output, Port, Stage, Window
from stages.choices import MEMORIES
from stages.prompts import ObjectPrompt
from stages.sam.model import SamConfig, SamModel, build_predictor
from stages.track import TrackStage
from storage.rundir import FORMAT_VERSION, RunDirectory
from storage.spans import Span
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.windows import WindowPlan
from stream.options.assembly import resolve_models, sam_config
from stream.options.config import RunConfig
from stream.pipeline import Pipeline
from stream.progress.events import Reporter

HEIGHT, WIDTH, FRAMES = 8, 12, 14
PLAN = WindowPlan(5, 2)
WINDOWS = PLAN.count(FRAMES)


class Spy(Stage):
    """Comes to the GPU when it works, and leaves it when it is told; both are noted in a list shared by all."""

    def __init__(self, name: str, noted: list[tuple[str, str]]) -> None:
        self.name = name  # type: ignore[misc]
        self.lane = "server" if name == "generate" else "gpu"
        self.noted = noted

    def process(self, window: Window, inputs: Inputs) -> Output:
        self.noted.append(("works", self.name))
        return Output(info={"iou": [None] * window.final.frames})

    def leave_gpu(self) -> None:
        self.noted.append(("leaves", self.name))


class Decode(Spy):
    """Black frames; not noted, for it works ahead in a thread of its own."""

    writes = (Port("frames", "new", PICTURE, "uint8", "until_read"), Port("times", "new", (), "float64"))

    def process(self, window: Window, inputs: Inputs) -> Output:
        stop = min(window.new.stop, FRAMES)
        frames = np.zeros((stop - window.new.start, HEIGHT, WIDTH, 3), np.uint8)
        info = {"frames": len(frames), "last": stop == FRAMES}
        return Output({"frames": frames, "times": np.arange(window.new.start, stop) / 24.0}, info)


def noted_by(path: Path, by_turns: bool) -> list[tuple[str, str]]:
    """What a chain of spies did, in order."""
    noted: list[tuple[str, str]] = []
    stages = [Decode("decode", noted), *(Spy(name, noted) for name in ("pose", "track", "generate", "score"))]
    manifest = {"format": FORMAT_VERSION, "video": {"height": HEIGHT, "width": WIDTH}}
    source: Any = SimpleNamespace(close=lambda: None)
    chain = Chain(stages)
    with RunDirectory(path, chain.layout(HEIGHT, WIDTH), manifest) as run:
        Pipeline(Executor(run, chain, source, by_turns), PLAN, Reporter(), keep="all").process()
    return noted


def test_with_by_turns_every_model_leaves_the_gpu_right_before_a_window_is_generated(tmp_path: Path) -> None:
    on_gpu: set[str] = set()
    generated, last = 0, ("", "")
    for what, name in noted_by(tmp_path, by_turns=True):
        if (what, name) == ("works", "generate"):
            assert last[0] == "leaves" and not on_gpu, f"window {generated}: {sorted(on_gpu)} still there"
            generated += 1
        elif what == "works":
            on_gpu.add(name)
        else:
            on_gpu.discard(name)
        last = (what, name)
    assert generated == WINDOWS > 2 and on_gpu == {"score"}


def test_with_by_turns_models_that_left_work_again(tmp_path: Path) -> None:
    noted = noted_by(tmp_path, by_turns=True)
    left = {name: noted.count(("leaves", name)) for name in ("pose", "track", "score")}
    assert left == dict.fromkeys(left, WINDOWS)
    first = noted.index(("leaves", "track"))
    assert noted[first:].count(("works", "track")) == WINDOWS - 1


def test_without_by_turns_nobody_leaves(tmp_path: Path) -> None:
    noted = noted_by(tmp_path, by_turns=False)
    assert {what for what, _ in noted} == {"works"}
    assert [name for _, name in noted] == ["pose", "track", "generate", "score"] * WINDOWS


def test_the_shared_model_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Constant:
        """Only where it is."""

        device = torch.device("cuda")

        def to(self, device: str) -> "Constant":
            moved = Constant()
            moved.device = torch.device(device)
            return moved

    positions = SimpleNamespace(cache={(4, 4): Constant()})  # what sam2 keeps beside the weights
    attention = SimpleNamespace(freqs_cis=Constant())

    class Predictor(Constant):
        moves: ClassVar[list[str]] = []

        def to(self, device: str) -> "Predictor":
            self.device = torch.device(device)
            self.moves.append(device)
            return self

        def modules(self) -> list[Any]:
            return [self, positions, attention]

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    model = SamModel(SamConfig(tmp_path / "none", tmp_path / "none", device="cuda"))
    model.to_cpu()  # not loaded: nothing to move
    model._predictor = Predictor()
    model.to_device()
    assert Predictor.moves == []
    TrackStage(plain_track(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0))), model).leave_gpu()
    assert {positions.cache[4, 4].device.type, attention.freqs_cis.device.type} == {"cpu"}
    model.to_device()
    model.to_device()
    assert Predictor.moves == ["cpu", "cuda"]
    assert {positions.cache[4, 4].device.type, attention.freqs_cis.device.type} == {"cuda"}


def test_tracking_goes_on_unchanged_after_it_left(tmp_path: Path) -> None:
    model = SamModel(write_small_sam(tmp_path))
    clip = moving_clip(12)

    def masks(leaving: bool) -> Array:
        found = []
        with TrackStage(plain_track(ObjectPrompt(box=(38.0, 30.0, 58.0, 42.0))), model) as stage:
            for index in range(3):
                span = Span(4 * index, 4 * index + 4)
                window = Window(index, span, span, span, index == 2, 4)
                info = {"decode": {"clip_frames_min16": 12}}
                output = stage.process(window, Inputs({"frames": clip[span.start : span.stop]}, info))
                found.append(output.arrays["masks/object"])
                if leaving:
                    stage.leave_gpu()
        return np.concatenate(found)

    stayed = masks(leaving=False)
    assert stayed.any() and np.array_equal(stayed, masks(leaving=True))


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_model_that_is_closed_is_gone_at_once(tmp_path: Path, memory: str) -> None:
    """Not when Python comes to look for cycles: until then its weights stay on the GPU, beside the next one's."""
    model, clip, span = SamModel(replace(write_small_sam(tmp_path), memory=memory)), moving_clip(2), Span(0, 2)
    with TrackStage(plain_track(ObjectPrompt(box=(38.0, 30.0, 58.0, 42.0))), model) as stage:
        stage.process(Window(0, span, span, span, True, 2), Inputs({"frames": clip}, {}))
    gc.collect()
    gc.disable()
    try:
        predictor = weakref.ref(model.predictor)
        model.close()
        assert predictor() is None
    finally:
        gc.enable()


def test_sam_compile_builds_the_packages_own_compiled_predictor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is compiled here: that happens at the first frame."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor, SAM2VideoPredictorVOS

    plain = build_predictor(small_settings(), tmp_path)
    compiled = build_predictor(small_settings(), tmp_path, compiled=True)
    assert type(plain) is SAM2VideoPredictor and type(compiled) is SAM2VideoPredictorVOS
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    parts = ("image_encoder", "memory_encoder", "memory_attention", "sam_prompt_encoder", "sam_mask_decoder")
    for name in parts:  # a compiled part has a `forward` of its own, in place of its class's
        assert "forward" in vars(getattr(compiled, name)) and "forward" not in vars(getattr(plain, name))
    assert capsys.readouterr().out == "", "stdout belongs to results"


def test_sam_compile_reaches_the_model(tmp_path: Path) -> None:
    _, checkpoint, _, yaml, *_ = small_models(tmp_path)
    given: dict[str, Any] = {"sam": checkpoint, "sam_config": yaml, "pose": "mini", "detector": "mini"}
    for chosen in (False, True):
        config = RunConfig(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0)), video="clip.mp4", sam_compile=chosen, **given)
        found: SamConfig = sam_config(config, resolve_models(config))
        assert found.compile is chosen
