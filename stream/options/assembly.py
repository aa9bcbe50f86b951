"""From a config to the stages that carry it out."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.base import Stage
from stages.crowd import CrowdConfig, CrowdPoseStage
from stages.decode import DecodeConfig
from stages.device import use_device
from stages.gate import asks_for_poses
from stages.models.registry import Kind, Resolved, check_content, content_sha256, resolve
from stages.poses.place import given_boxes
from stages.sink import ColourTags, EncoderSettings
from stages.subjects import PERSON
from storage.errors import UsageError
from storage.rundir import Manifest
from stream.engine.chain import Chain, Node
from stream.options.config import RunConfig
from stream.options.finishing import finished, pose_models
from stream.options.pairs import pairs_of
from stream.options.passes import nodes_of, subject_names
from stream.options.picturing import blend_stage, picturing_stages, region_stages
from stream.options.working import at_work, frame_size, source_size
from stream.progress.events import Reporter

if TYPE_CHECKING:
    from stages.occlusion import OcclusionConfig, OcclusionStage
    from stages.sam.model import SamModel
    from stages.score import ScoreConfig

_SINCE: dict[str, str] = {"sam": "track", "pose": "pose", "detector": "pose"}


@dataclass(frozen=True)
class Models:
    """The weight files of a run, by kind; all of them are on disk."""

    files: dict[str, Resolved] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> Resolved:
        return self.files[kind]

    def decisive(self) -> dict[str, tuple[str, Any]]:
        """The identity of each model: the sha256 of its weights, and of its config where it has one."""
        found: dict[str, tuple[str, Any]] = {}
        for kind, model in self.files.items():
            found[f"{kind} weights"] = (_SINCE[kind], content_sha256(model.path))
            if model.config_path is not None:
                found[f"{kind} config"] = (_SINCE[kind], content_sha256(model.config_path))
        return found


def resolve_models(config: RunConfig, only: Iterable[Kind] | None = None) -> Models:
    """Find the weights that the config needs, or those of the kinds given.

    Raises:
        EnvironmentFault: when a file is not there (the line says where to get it and where to put it) or damaged.
    """
    alone = config.chain == "given" or not config.persons
    needed: Iterable[Kind] = ("sam",) if alone else ("sam", "pose", "detector")
    names = {"sam": config.sam, "pose": config.pose, "detector": config.detector}
    found = [resolve(kind, names[kind], config.sam_config if kind == "sam" else None) for kind in only or needed]
    return Models({model.kind: check_content(model) for model in found})


def decode_config(config: RunConfig) -> DecodeConfig:
    """What the decode stage needs of a run's config."""
    return DecodeConfig(
        path=Path(config.video),
        window=config.window,
        overlap=config.overlap,
        fps=config.fps,
        max_bad_frames=config.max_bad_frames,
        max_pixels=config.max_pixels,
        hdr=config.hdr,
        split=config.on_cut == "split",
        cuts=config.cuts,
        height=config.work_height,
    )


def picture_bytes(video: Mapping[str, Any]) -> float:
    """Bytes of a decoded picture of this video (`run.json`), a pixel of its frames."""
    from av import VideoFormat

    each = math.prod(source_size(video)) / (int(video["width"]) * int(video["height"]))
    return float(VideoFormat(video["pixel_format"]).padded_bits_per_pixel / 8 * each)


def sam_config(config: RunConfig, models: Models) -> Any:
    """The `SamConfig` of a run."""
    from stages.sam.model import SamConfig

    model = models["sam"]
    assert model.config_path is not None  # resolve() refuses a SAM without one
    return SamConfig(
        checkpoint=model.path,
        config_yaml=model.config_path,
        device=config.device,
        state_device=config.state_device,
        compile=config.sam_compile,
        memory=config.memory,
    )


def sam_side(config: RunConfig, models: Models) -> int:
    """Of the square picture that the run's SAM is shown, pixels."""
    from stages.sam.checkpoint import read_config

    return int(read_config(sam_config(config, models).config_yaml)["image_size"])


def encoder_settings(video: dict[str, Any], fps: float | None = None) -> EncoderSettings:
    """The encoder's settings for a video's properties (`run.json`): its size, pixel shape and colour tags."""
    return EncoderSettings(
        width=video["width"],
        height=video["height"],
        colour=ColourTags(
            matrix=video["colour_matrix"],
            range=video["colour_range"],
            primaries=video["colour_primaries"],
            transfer=video["colour_transfer"],
        ),
        fps=fps or video["claimed_fps"],
        sample_aspect_ratio=(video["sample_aspect_ratio"][0], video["sample_aspect_ratio"][1]),
    )


def build_chain(config: RunConfig, models: Models, manifest: Manifest, reporter: Reporter) -> Chain:
    """The run's chain, its stages closed; one SAM 2.1 is shared by tracking and scoring."""
    from stages.decode import DecodeStage
    from stages.sam.model import SamModel

    use_device(config.device)
    config = at_work(config, manifest["video"])
    if config.sam_compile and config.shares_gpu:
        raise UsageError(
            f"--sam-compile: what it compiles stays at fixed addresses of the GPU (CUDA graphs) and cannot leave it "
            f"for ComfyUI at {', '.join(config.sharing)}: leave it out, or give --share-gpu no"
        )
    sam = SamModel(sam_config(config, models))
    decode = DecodeStage(replace(decode_config(config), picture_bytes=picture_bytes(manifest["video"])))
    if config.chain == "given":
        tracking = given_stages(config, manifest)
    elif config.scene is not None:
        tracking = [
            *following_stages(config, models, sam, frame_size(manifest["video"])),
            *crowd_stages(config, models),
            occlusion_stage(config),
        ]
    else:
        tracking = [person_stage(config, models), *following_stages(config, models, sam, frame_size(manifest["video"]))]
    if not config.generates:
        return Chain([decode, *tracking])
    making = nodes_of(config, lambda one: picturing_stages(one, manifest, reporter), lambda: blend_stage(config))
    making = finished(making, config, models)
    finishing = finishing_stages(config, models, manifest, sam)
    baselines = baseline_stages(config, manifest, sam)
    return Chain([decode, *tracking, *region_stages(config), *making, *finishing, *baselines])


def given_stages(config: RunConfig, manifest: Manifest) -> list[Stage | Node]:
    """Masks and poses from files, closed."""
    from stages.given import GivenMasksStage, GivenPoseStage

    assert config.given is not None and config.prompt is not None  # given_config() sets them
    masks, persons, poses = config.given
    size = frame_size(manifest["video"])
    tracking = GivenMasksStage(masks, persons, poses, config.prompt, size, config.max_pixels)
    return [GivenPoseStage(poses, size), tracking]


def person_stage(config: RunConfig, models: Models) -> Stage:
    """The pose of the one person, chosen at the object; closed."""
    from stages.pose import PoseConfig, PoseStage

    assert config.prompt is not None  # there is no scene
    pose = PoseConfig(
        pose_path=str(models["pose"].path),
        detector_path=str(models["detector"].path),
        prompt=config.prompt,
        person_box=config.person_box,
        detect_every=config.detect_every,
        smooth=config.smooth,
        on_cut=config.on_cut,
        device=config.device,
        pose_input=models["pose"].input_size,
        detector_input=models["detector"].input_size,
        max_pixels=config.max_pixels,
    )
    return PoseStage(pose)


def crowd_stages(config: RunConfig, models: Models) -> list[Stage]:
    """The poses of a scene's persons, closed; nothing where there are none."""
    return [CrowdPoseStage(crowd_config(config, models, config.persons))] if config.persons else []


def crowd_config(config: RunConfig, models: Models, persons: tuple[str, ...]) -> CrowdConfig:
    """How the poses of persons are found who are known by their masks."""
    both, reset = pose_models(config, models), config.on_cut in ("reset", "split")
    return CrowdConfig(both, persons, config.detect_every, config.smooth, reset)


def occlusion_config(config: RunConfig, posed: tuple[str, ...]) -> "OcclusionConfig":
    """Whom it is about; `posed`: the persons whose joints are known."""
    from stages.occlusion import OcclusionConfig

    prompts = {subject.name: subject.prompt for subject in config.subjects} if config.masks is None else {}
    prompted = {name: prompt.frame for name, prompt in prompts.items() if prompt is not None}
    return OcclusionConfig(subject_names(config), posed, config.on_cut in ("reset", "split"), prompted)


def occlusion_stage(config: RunConfig) -> "OcclusionStage":
    """Who hides whom, closed."""
    from stages.occlusion import OcclusionStage

    who = occlusion_config(config, config.persons)
    if config.amodal is None:
        return OcclusionStage(who)
    from stages.completion import CompletionConfig, CompletionStage
    from stages.server.client import Timeouts

    usual = Timeouts()
    timeouts = replace(usual, job=config.timeout, request=min(usual.request, config.timeout))
    return CompletionStage(who, CompletionConfig(config.amodal, config.server, config.sharing, timeouts))


def following_stages(config: RunConfig, models: Models, sam: "SamModel", size: tuple[int, int]) -> list[Stage | Node]:
    """What follows the subjects through the clip, whose frames have this (width, height): in one pass over the whole
    frames or in a chase, or in two; closed."""
    from stages.closer import CloserConfig, CloserStage
    from stages.track import TrackConfig, TrackStage

    chosen = PERSON if config.scene is None else None
    track = TrackConfig(config.subjects, config.on_cut, chosen=chosen, apart=config.scene is not None)
    if config.track_view != "follow":
        look = {"full": "frames", "chase": "chase"}[config.track_view]
        return [TrackStage(replace(track, look=look), sam)]
    followed = [subject for subject in config.subjects if subject.name != chosen]
    boxes = {subject.name: given_boxes(subject, config.max_pixels) for subject in followed}
    return [
        Node(TrackStage(replace(track, look="first"), sam), "look"),
        CloserStage(CloserConfig(track.names, sam_side(config, models), size, boxes)),
        TrackStage(replace(track, look="views"), sam),
    ]


def score_config(config: RunConfig) -> "ScoreConfig":
    """How a run's segments are scored."""
    from stages.score import ScoreConfig

    scene, follows = config.scene is not None, config.track_view != "full"
    chosen = None if scene else PERSON
    return ScoreConfig(config.followed, config.proved, config.iou_bound, chosen, through_views=follows, apart=scene)


def finishing_stages(config: RunConfig, models: Models, manifest: Manifest, sam: Any) -> list[Stage | Node]:
    """Sink, score, and what else the gate asks for, closed.

    Raises:
        UsageError: when the gate asks for what cannot be known.
    """
    from stages.score import ScoreStage

    return [
        sink_stage(config, manifest),
        *([ScoreStage(score_config(config), sam)] if config.judges else []),
        *measuring_nodes(config, models),
    ]


def sink_stage(config: RunConfig, manifest: Manifest) -> Stage:
    """What encodes, closed: at the size of the video's pictures."""
    from stages.decode import read_source
    from stages.sink import EnlargingSinkStage, SinkStage

    encoder, (width, height) = encoder_settings(manifest["video"], config.fps), source_size(manifest["video"])
    if (width, height) == (encoder.width, encoder.height):
        return SinkStage(encoder)
    again = partial(read_source, decode_config(config))
    return EnlargingSinkStage(replace(encoder, width=width, height=height), again)


def measuring_nodes(config: RunConfig, models: Models) -> list[Node]:
    """What compares the interaction in source and result, a pair each, closed; none where that is not asked for.

    Raises:
        UsageError: as `measure_stage`.
    """
    pairs = pairs_of(config) if config.measures else []
    return [Node(measure_stage(config, models), pair.node, pair.arrays) for pair in pairs]


def measure_stage(config: RunConfig, models: Models) -> Stage:
    """What compares the interaction of one pair in source and result, closed.

    Raises:
        UsageError: when the gate asks for poses of the result, and no models can find them.
    """
    from stages.measure import MeasureConfig, MeasureStage

    if config.scene is not None:
        one = crowd_config(config, models, (PERSON,))
        return MeasureStage(MeasureConfig(config.bounds), lambda: CrowdPoseStage(one))
    if "pose" in models.files:
        return MeasureStage(MeasureConfig(config.bounds), lambda: person_stage(config, models))
    if asks_for_poses(config.gate):
        raise UsageError(
            "--gate: the source's poses were made elsewhere, so those of the result cannot be compared: leave out "
            "what is measured by poses (docs/fidelity.md)"
        )
    return MeasureStage(MeasureConfig(config.bounds), None)


def baseline_stages(config: RunConfig, manifest: Manifest, sam: Any) -> list[Stage]:
    """What judges the source itself and a blur, closed; none where that is not asked for."""
    from stages.baselines import BaselineStage

    if not (config.baselines and config.generates):
        return []
    return [BaselineStage(score_config(config), encoder_settings(manifest["video"], config.fps), sam)]
