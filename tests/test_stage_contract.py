"""What every stage owes to the pipeline, checked on each of them over the same three windows of a small clip.

Chains are carried out by the executor: one with our own models and the preview, one where both look through views, one
with poses and masks from files and a ComfyUI, and one that removes the subjects.
"""

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from _sam_fixture import plain_track, write_small_sam
from fake_comfy import FakeComfy
from fake_comfy.scene import config as comfy_config

from bench.disk import KEPT_ARRAYS
from stages import base
from stages.aim import AimConfig, AimStage
from stages.base import Array, Inputs, Output, Stage, Window
from stages.baselines import BaselineStage
from stages.blend import BlendConfig, BlendStage
from stages.closer import CloserConfig, CloserStage
from stages.comfyui import ComfyStage
from stages.completion import CompletionConfig, CompletionStage
from stages.composite import CompositeConfig, CompositeStage, MatchingCompositeStage
from stages.crowd import CrowdConfig, CrowdPoseStage
from stages.decode import DecodeConfig, DecodeStage, read_source
from stages.deflicker import DeflickerConfig, DeflickerStage
from stages.foot import FootStage
from stages.given import GivenMasksStage, GivenPoseStage, first_prompt
from stages.measure import MeasureConfig, MeasureStage
from stages.models.registry import resolve
from stages.motion import MotionStage
from stages.occlusion import OcclusionConfig, OcclusionStage
from stages.picture import mask_box
from stages.plate import PlateStage
from stages.pose import PoseConfig, PoseStage
from stages.poses.openpose_json import pose_keypoint
from stages.preview import PreviewConfig, PreviewStage
from stages.prompts import ObjectPrompt
from stages.recipes.registry import COMPLETING
from stages.regions import RegionsConfig, RegionsStage
from stages.remove import RemoveConfig, RemoveStage
from stages.sam.model import SamModel
from stages.score import ScoreConfig, ScoreStage
from stages.sink import EnlargingSinkStage, SinkStage
from stages.subjects import OBJECT, OBJECTS, PERSON, Subject, plain_subjects
from stages.through import ThroughStage
from stages.track import TrackConfig, TrackStage
from stages.view import ViewConfig, ViewStage
from storage.rundir import FORMAT_VERSION, RunDirectory
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor
from stream.engine.source import FrameSource
from stream.engine.tasks import Task
from stream.engine.windows import WindowPlan, span_of
from stream.options.assembly import encoder_settings

PLAN = WindowPlan(9, 3)
SIDE = 64  # of the small SAM's input
CLIP = DemoConfig(frames=20, width=160, height=90, seed=7)
OWN = (
    "decode", "pose", "track", "preview", "composite", "blend", "sink", "score", "measure", "baselines", "foot-lock",
)  # fmt: skip
SCENE = ("decode", "track-scene", "crowd", "occlusion", "regions")
OTHER = ("decode", "given-pose", "given-masks", "completion", "comfyui", "matching-composite", "blend")
SEEN = (
    "decode", "pose", "look", "closer", "track-views", "motion", "view", "through", "viewed-composite", "blend",
    "enlarging-sink",
)  # fmt: skip
REMOVED = ("decode", "pose", "track", "follow", "plate", "remove", "composite", "blend", "deflicker")
BOUND = {"foot-lock": {"before": "generated"}, "deflicker": {"before": "generated"}}
NAMES = (*OWN, *SEEN[2:-2], SEEN[-1], *OTHER[1:-1], *SCENE[1:], *REMOVED[3:-3], REMOVED[-1])
NOT_ITS_OWN = {"prompt_id", "seconds", "system_stats", "read", "final", "padded", "shot"}  # a server's, the executor's


@dataclass(frozen=True)
class Material:
    """A clip on disk, and everything the stages of one whole pass were given and gave."""

    folder: Path
    make: dict[str, Callable[[], Stage]]
    inputs: dict[tuple[str, int], Inputs]
    outputs: dict[tuple[str, int], Output]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    folder = tmp_path_factory.mktemp("contract")
    video = folder / "clip.mp4"
    write_clip(CLIP, video)
    with FakeComfy() as server:
        found = Material(folder, {**own(folder, video), **other(folder, server)}, {}, {})
        for labels in (OWN, SEEN, OTHER, SCENE, REMOVED):
            _pass(found, labels)
        yield found


def own(folder: Path, video: Path) -> dict[str, Callable[[], Stage]]:
    """Stages with our own models, and the preview."""
    prompt = ObjectPrompt(box=mask_box(Scene(CLIP).frame(0).object_mask))
    sam = SamModel(write_small_sam(folder))
    with DecodeStage(DecodeConfig(video, PLAN.window, PLAN.overlap)) as probe:
        properties = probe.properties
    skater = ObjectPrompt(2, box=mask_box(Scene(CLIP).frame(2).person_mask))
    scene = (Subject("board", OBJECT, prompt), Subject("skater", PERSON, skater))
    pose = PoseConfig(str(resolve("pose", "mini").path), str(resolve("detector", "mini").path), prompt, threads=1)
    return {
        "decode": lambda: DecodeStage(DecodeConfig(video, PLAN.window, PLAN.overlap)),
        "pose": lambda: PoseStage(pose),
        "track": lambda: TrackStage(plain_track(prompt), sam),
        "preview": lambda: PreviewStage(PreviewConfig()),
        "composite": lambda: CompositeStage(CompositeConfig()),
        "blend": lambda: BlendStage(BlendConfig(PLAN.window, PLAN.overlap)),
        "sink": lambda: SinkStage(encoder_settings(dataclasses.asdict(properties))),
        "enlarging-sink": lambda: EnlargingSinkStage(
            encoder_settings(dataclasses.asdict(properties)), partial(read_source, DecodeConfig(video))
        ),
        "score": lambda: ScoreStage(ScoreConfig(plain_subjects(prompt)), sam),
        "measure": lambda: MeasureStage(MeasureConfig(), lambda: PoseStage(pose)),
        "baselines": lambda: BaselineStage(
            ScoreConfig(plain_subjects(prompt)), encoder_settings(dataclasses.asdict(properties)), sam
        ),
        "look": lambda: TrackStage(plain_track(prompt, look="first"), sam),
        "closer": lambda: CloserStage(CloserConfig(OBJECTS, SIDE, (CLIP.width, CLIP.height))),
        "track-views": lambda: TrackStage(plain_track(prompt, look="views"), sam),
        "track-scene": lambda: TrackStage(TrackConfig(scene, look="chase", chosen=None), sam),
        "crowd": lambda: CrowdPoseStage(CrowdConfig(pose.models, ("skater",), 2, "one-euro", reset_on_cut=True)),
        "occlusion": lambda: OcclusionStage(OcclusionConfig(("board", "skater"), ("skater",), reset_on_cut=True)),
        "regions": lambda: RegionsStage(RegionsConfig(("board", "skater"), ("board",), ("skater",))),
        "motion": lambda: MotionStage(),
        "follow": lambda: MotionStage(always=True),
        "plate": lambda: PlateStage(),
        "remove": lambda: RemoveStage(RemoveConfig()),
        "foot-lock": lambda: FootStage(pose.models),
        "deflicker": lambda: DeflickerStage(DeflickerConfig(0.5)),
        "aim": lambda: AimStage(AimConfig("follow", 4, (CLIP.width, CLIP.height), turns=True)),
        "view": lambda: ViewStage(ViewConfig(None, True, (CLIP.width, CLIP.height))),
        "through": lambda: ThroughStage(PreviewStage(PreviewConfig())),
        "viewed-composite": lambda: CompositeStage(CompositeConfig(viewed=True)),
    }


def other(folder: Path, server: FakeComfy) -> dict[str, Callable[[], Stage]]:
    """Stages that take poses and masks from files, and those of a ComfyUI."""
    frames = list(Scene(CLIP))
    masks, persons, pose = folder / "masks", folder / "persons", folder / "pose.json"
    for place, pictures in ((masks, [f.object_mask for f in frames]), (persons, [f.person_mask for f in frames])):
        place.mkdir()
        for index, picture in enumerate(pictures):
            cv2.imwrite(str(place / f"{index:05d}.png"), picture.astype(np.uint8) * 255)
    points = [np.column_stack([frame.joints, frame.joints_visible]).astype(np.float32) for frame in frames]
    pose.write_text(json.dumps([pose_keypoint(each, CLIP.height, CLIP.width) for each in points]))
    size = (CLIP.width, CLIP.height)
    return {
        "given-pose": lambda: GivenPoseStage(pose, size),
        "given-masks": lambda: GivenMasksStage(masks, persons, pose, first_prompt(masks), size),
        "completion": lambda: CompletionStage(
            OcclusionConfig(OBJECTS, (PERSON,)), CompletionConfig(COMPLETING, (server.address,), side=64)
        ),
        "comfyui": lambda: ComfyStage(comfy_config(server.address, size=(96, 48))),
        "matching-composite": lambda: MatchingCompositeStage(CompositeConfig()),
    }


def _pass(material: Material, labels: Sequence[str]) -> None:
    """Run a whole chain once, remembering inputs and outputs."""
    stages = {label: material.make[label]() for label in labels}
    chain = Chain(
        [Node(stage, label if label == "look" else "", BOUND.get(label, {})) for label, stage in stages.items()]
    )
    nodes = dict(zip(labels, chain.names, strict=True))
    manifest = {"format": FORMAT_VERSION, "video": {"height": CLIP.height, "width": CLIP.width}}
    decode = DecodeConfig(material.folder / "clip.mp4", PLAN.window, PLAN.overlap)
    with (
        RunDirectory(material.folder / "-".join(labels[1:4]), chain.layout(CLIP.height, CLIP.width), manifest) as run,
        Executor(run, chain, FrameSource(run, decode)) as executor,
    ):
        behind = {label: chain.lag(node) for label, node in nodes.items()}
        tasks = [(window, label) for label in stages for window in PLAN.windows(CLIP.frames)]
        for window, label in sorted(tasks, key=lambda item: item[0].index + behind[item[1]]):  # stages in order
            task = Task(nodes[label], window)
            executor.make_ready(task)
            inputs = executor.inputs(task)
            done = executor.run(task)
            executor.commit(done)
            material.inputs.setdefault((label, window.index), inputs)
            material.outputs.setdefault(
                (label, window.index), Output({**done.commit.arrays, **done.commit.blocks}, done.commit.info)
            )


def test_no_stage_is_missing(material: Material) -> None:
    """Every class of a stage that there is, is one of these."""
    for module in pkgutil.iter_modules([str(Path(base.__file__).parent)]):
        importlib.import_module(f"stages.{module.name}")
    waiting, concrete = [Stage], set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("stages.") and not kind.__abstractmethods__:
            concrete.add(kind)
    assert concrete == {type(make()) for make in material.make.values()}


def windows() -> list[Window]:
    return list(PLAN.windows(CLIP.frames))


def equal(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def same(a: Output, b: Output) -> None:
    assert a.arrays.keys() == b.arrays.keys()
    assert [name for name in a.arrays if not equal(a.arrays[name], b.arrays[name])] == []
    own = [{key: value for key, value in output.info.items() if key not in NOT_ITS_OWN} for output in (a, b)]
    assert own[0] == own[1]


@pytest.mark.parametrize("name", NAMES)
def test_it_returns_what_it_declares(material: Material, name: str) -> None:
    stage = material.make[name]()
    for window in windows():
        output = material.outputs[name, window.index]
        assert {port.name for port in stage.writes} == set(output.arrays)
        for port in stage.writes:
            array = output.arrays[port.name]
            assert array.dtype == np.dtype(port.dtype), port.name
            assert array.shape[1:] == port.frame_shape(CLIP.height, CLIP.width), port.name
            if port.span != "window":
                assert len(array) == span_of(window, port).frames, port.name


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_stage_given_the_state_goes_on_alike(material: Material, name: str) -> None:
    parts = None
    for window in windows():
        with material.make[name]() as stage:
            if parts is not None:
                stage.set_state(*parts)
            output = stage.process(window, material.inputs[name, window.index])
            parts = stage.get_state().to_parts()
        same(output, material.outputs[name, window.index])


@pytest.mark.parametrize("name", NAMES)
def test_its_state_does_not_change_when_it_works_on(material: Material, name: str) -> None:
    first, second, _ = windows()
    with material.make[name]() as stage:
        stage.process(first, material.inputs[name, 0])
        values, arrays = stage.get_state().to_parts()
        copies = {key: array.copy() for key, array in arrays.items()}
        stage.process(second, material.inputs[name, 1])
        assert [key for key in copies if not equal(arrays[key], copies[key])] == []
    with material.make[name]() as stage:
        stage.process(first, material.inputs[name, 0])
        assert stage.get_state().to_parts()[0] == values, "the same work leaves the same state"


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_its_inputs_alone(material: Material, name: str) -> None:
    window, inputs = windows()[0], material.inputs[name, 0]
    copies = {key: array.copy() for key, array in inputs.arrays.items()}
    with material.make[name]() as stage:
        stage.process(window, inputs)
    assert [key for key in copies if not equal(inputs.arrays[key], copies[key])] == []


@pytest.mark.parametrize("name", NAMES)
def test_close_may_come_early_and_twice(material: Material, name: str) -> None:
    stage = material.make[name]()
    stage.close()
    stage = material.make[name]()
    stage.open()
    stage.close()
    stage.close()


@pytest.mark.parametrize("name", NAMES)
def test_its_projected_peak_grows_with_the_frame(material: Material, name: str) -> None:
    with material.make[name]() as stage:
        small, _ = stage.peak_bytes(360, 640, 81)
        large, vram = stage.peak_bytes(720, 1280, 81)
    assert 0 < small < large and vram >= 0


@pytest.mark.parametrize("name", NAMES)
def test_the_measured_working_disk_is_without_what_it_keeps(material: Material, name: str) -> None:
    frames = [port for port in material.make[name]().writes if port.span != "window"]
    kept = {port.name for port in frames if port.name.split("/")[0] in KEPT_ARRAYS}
    assert kept == {port.name for port in frames if port.life == "kept"}
