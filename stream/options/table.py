"""The options of a run and its kin, in one table: what the command line, the help, TOML files and the checks go by.

What each can change (`since`) stands at its field of `RunConfig`; `tests/test_options_table.py` holds the two together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from stages import bounds
from stages.choices import FILL_CHOICES, GUIDES, MEMORIES, PASSES, PROFILES, SHAPES
from stages.generators import GENERATORS
from stages.region import REMOVE, RESKIN_CHOICES
from storage.bounds import Bounds
from stream.options.values import (
    BOX,
    BYTES,
    CORRECTION,
    FILE,
    FILES,
    FLAG,
    FOLDER,
    GATE,
    INTEGER,
    LOOK,
    LORA,
    NUMBER,
    PATH,
    POINT,
    SIZE,
    STEADY,
    SWAP,
    TEXT,
    WIDTHS,
    Kind,
    choice,
)

TRACKING, GENERATION, GIVEN, SCENE = "tracking", "generation", "given", "scene"  # what alone an option matters for


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        group: the user's, as in the help.
        only: `TRACKING`, `GENERATION`, `GIVEN` (tracking made elsewhere) or `SCENE` (several subjects); empty where it
            matters for each of them.
        name: with its dashes.
        kind: of its value. help: one line.
        default: as a text on the command line; None: not given. otherwise: what holds then.
        bounds: of a number, or of each of several.
        many: whether it may be given several times.
        parameter: the name of its value, where that is another: a field of `RunConfig`, or what makes one up.
        metavar: in the help, in place of the kind's form.
        required: whether it must be given. off: of a flag, whether there is a `--no-` of it too.
    """

    group: str
    only: str
    name: str
    kind: Kind
    help: str
    default: str | None = None
    otherwise: str = ""
    bounds: Bounds | None = None
    many: bool = False
    parameter: str = ""
    metavar: str = ""
    required: bool = False
    off: bool = False

    def __post_init__(self) -> None:
        if not self.parameter:
            object.__setattr__(self, "parameter", self.key.replace("-", "_"))

    @property
    def key(self) -> str:
        """Its name in a TOML file."""
        return self.name.removeprefix("--")

    @property
    def short(self) -> bool:
        """Whether `--help` shows it; `--help-all` shows every one."""
        return self.only == GIVEN or self.name in _SHORT

    def check(self, value: Any) -> None:
        """Refuse a value outside the bounds; None, not given, is within.

        Raises:
            UsageError: with the option, the value and the bounds.
        """
        if self.bounds is not None:
            self.bounds.check(self.name, value)


_SHORT = frozenset(
    f"--{key}"
    for keys in (
        ("box", "point", "object-mask", "prompt-frame", "correct", "scene"),
        ("prompt", "reference", "seed", "reskin", "server", "workflow", "window", "retries", "sam", "device", "fps"),
        ("out", "keep", "json", "overwrite"),
    )
    for key in keys
)
_view = partial(Option, "view")
_object = partial(Option, "object", TRACKING)
_subjects = partial(Option, "subjects")
_given = partial(Option, "elsewhere", GIVEN)
_look = partial(Option, "look", GENERATION)
_generator = partial(Option, "generator", GENERATION)
_windows = partial(Option, "windows")
_models = partial(Option, "models")
_machine = partial(Option, "machine")
_clip = partial(Option, "clip")
_output = partial(Option, "output")

OPTIONS: tuple[Option, ...] = (
    _object("--box", BOX, "The object on the prompt frame, pixels."),
    _object("--point", POINT, "On it (label 1, default) or off it (0); repeatable.", many=True),
    _object("--object-mask", FILE, "Its mask: a PNG of the frame's size."),
    _object("--prompt-frame", INTEGER, "Counted from 0; frames before it are untracked.", "0", bounds=bounds.FRAME),
    _object(
        "--correct",
        CORRECTION,
        "Its box, points +x,y;-x,y or mask FILE.png on a later frame; also NAME@FRAME:...; repeatable.",
        many=True,
    ),
    _object("--person-box", BOX, "The person on the prompt frame.", otherwise="nearest the object"),
    _subjects(SCENE, "--scene", FILE, "In place of these: all who are followed, by name.", metavar="FILE.toml|.json"),
    _subjects(SCENE, "--find", SWAP, "A subject by a text: --server's SAM 3 finds it; repeatable.", many=True),
    _subjects(
        SCENE,
        "--amodal",
        PATH,
        "What others hide: --server's video model paints it.",
        otherwise="estimated here",
        metavar="amodal-vace|FILE",
    ),
    _subjects(SCENE, "--write-scene", FILE, "Write them as such a file; do nothing else.", metavar="FILE.toml|.json"),
    _subjects(
        GENERATION, "--swap", SWAP, "What a subject becomes, also for {NAME} in --prompt; repeatable.", many=True
    ),
    _subjects(GENERATION, "--passes", choice(*PASSES), "One generation for all, or one each.", "together"),
    _given("--masks", PATH, "The object: a folder of PNGs, or a video."),
    _given("--person-masks", PATH, "The person, likewise.", otherwise="drawn around the skeleton"),
    _given("--pose", PATH, "POSE_KEYPOINT, or folder of CMU files or PNGs.", parameter="pose_file"),
    _view(GENERATION, "--view", LOOK, "What the generator sees.", "auto"),
    _view(
        GENERATION,
        "--stabilise",
        STEADY,
        "Steady that, over so many frames.",
        otherwise="30 where the view follows, else off",
        bounds=bounds.STEADY,
    ),
    _view(GENERATION, "--match-grain", FLAG, "Noise and sharpness as the source's around it."),
    _view(GENERATION, "--foot-lock", FLAG, "A foot that stands in the source stands in the result."),
    _view(
        GENERATION,
        "--deflicker",
        NUMBER,
        "Share of the frame before, moved by the source's flow.",
        "0.0",
        bounds=bounds.SHARE,
    ),
    _view(
        TRACKING,
        "--track-view",
        choice("full", "follow", "chase"),
        "Track in the whole frame, or through views.",
        "full",
    ),
    _look("--prompt", TEXT, "What person and object become.", "", parameter="text"),
    _look("--negative", TEXT, "What to avoid.", ""),
    _look("--reference", FILE, "Picture of how it should look."),
    _look("--seed", INTEGER, "The generator's seed.", "0", bounds=bounds.SEED),
    _look("--reskin", choice(*RESKIN_CHOICES, REMOVE), "What is regenerated, or that both vanish.", "both"),
    _look("--dilate", WIDTHS, "Region beyond the masks, generator's pixels.", "8", bounds=bounds.DILATE),
    _look("--region", choice(*SHAPES), "Shape of the region.", otherwise="the recipe's, tight"),
    _look("--fill", choice(*FILL_CHOICES), "What the emptied region is filled with.", otherwise="the recipe's"),
    _look("--object-guide", choice(*GUIDES), "What shows how the object turns.", otherwise="the recipe's"),
    _generator("--generator", choice(*GENERATORS), "", otherwise="comfyui with --server, else preview"),
    _generator("--server", TEXT, "ComfyUI server; repeatable.", many=True, metavar="HOST:PORT"),
    _generator("--workflow", PATH, "A recipe, or your own, in API format.", otherwise="vace", metavar="NAME|FILE"),
    _generator("--profile", choice(*PROFILES), "Settings of the recipe.", otherwise="the workflow's"),
    _generator("--model", FILES, "Model in place of the workflow's; two experts: two."),
    _generator("--lora", LORA, "LoRA beside the workflow's; repeatable.", many=True),
    _generator("--upscale", PATH, "Upscale model that enlarges what was made.", metavar="NAME"),
    _generator("--comfy-output", FOLDER, "ComfyUI's output folder here: delete ours there.", metavar="DIR"),
    _generator("--size", SIZE, "Generator's size, multiples of 16.", otherwise="near 832x480"),
    _generator("--steps", INTEGER, "Sampler steps.", otherwise="the workflow's", bounds=bounds.STEPS),
    _generator("--cfg", NUMBER, "Guidance.", otherwise="the workflow's", bounds=bounds.CFG),
    _generator(
        "--strength", NUMBER, "How strongly the control guides.", otherwise="the workflow's", bounds=bounds.STRENGTH
    ),
    _generator("--timeout", NUMBER, "For one generated window, seconds.", "3600.0", bounds=bounds.SECONDS),
    _windows("", "--window", INTEGER, "Frames, 4n+1.", otherwise="the recipe's: 81"),
    _windows("", "--overlap", INTEGER, "Frames two windows share, at most half.", otherwise="the recipe's: 21"),
    _windows(
        GENERATION,
        "--continuity",
        choice("tail", "blend", "latent"),
        "Condition on the tail, as latents too, or only crossfade.",
        "tail",
    ),
    _windows(GENERATION, "--retries", INTEGER, "New attempts for a window that fails.", "0", bounds=bounds.RETRIES),
    _windows(GENERATION, "--iou-threshold", NUMBER, "Every frame must be above it.", "0.9", bounds=bounds.IOU),
    _windows(GENERATION, "--gate", GATE, "Metrics that every frame must hold (docs/fidelity.md).", "iou"),
    _windows(GENERATION, "--baselines", FLAG, "Also judge the source itself, and a blur.", otherwise="off", off=True),
    _models("", "--sam", PATH, "tiny, small, base-plus, large, mini or mini-groups.", "small", metavar="NAME|PATH"),
    _models("", "--sam-config", FILE, "YAML of a checkpoint given by path."),
    _models(TRACKING, "--memory", choice(*MEMORIES), "SAM 2.1's, or one against look-alikes.", "stock"),
    _models(TRACKING, "--pose", PATH, "Of the keypoints.", "dwpose-l-384", metavar="NAME|PATH"),
    _models(TRACKING, "--detector", PATH, "Of persons.", "yolox-m", metavar="NAME|PATH"),
    _models(
        TRACKING,
        "--pose-style",
        choice("controlnet", "vace", "wan-animate"),
        "Of drawn skeletons: controlnet, vace or wan-animate.",
        otherwise="the recipe's",
        metavar="STYLE",
    ),
    _models(
        TRACKING,
        "--detect-every",
        INTEGER,
        "Frames between detections.",
        otherwise="1 on GPU, 3 on CPU",
        bounds=bounds.DETECT_EVERY,
    ),
    _models(TRACKING, "--smooth", choice("none", "one-euro"), "Filter of the keypoints.", "one-euro"),
    _machine("", "--device", choice("auto", "cpu", "cuda"), "For all models.", "auto"),
    _machine("", "--vram", BYTES, "Refuse to start above it, e.g. 8GB.", otherwise="what is there"),
    _machine("", "--ram", BYTES, "Refuse to start above it, e.g. 16GB.", otherwise="what is there"),
    _machine(
        GENERATION,
        "--share-gpu",
        choice("auto", "yes", "no"),
        "By turns with ComfyUI; auto: one on this machine.",
        "auto",
    ),
    _machine(
        GENERATION,
        "--ahead",
        INTEGER,
        "Windows tracked while one is generated.",
        otherwise="1 with a server (blend: one each), 0 where it shares our GPU",
        bounds=bounds.AHEAD,
    ),
    _machine(TRACKING, "--state-device", choice("cpu", "cuda"), "Where SAM's memories rest.", "cpu"),
    _machine(TRACKING, "--sam-compile", FLAG, "sam2's own compiled predictor."),
    _clip(TRACKING, "--fps", NUMBER, "Resample to this rate, frames/s.", otherwise="keep the times", bounds=bounds.FPS),
    _clip(
        TRACKING,
        "--work-height",
        INTEGER,
        "Track and generate at it; the output keeps its size.",
        otherwise="the clip's",
        bounds=bounds.WORK_HEIGHT,
    ),
    _clip("", "--hdr", choice("tonemap", "refuse"), "Clips in HLG or PQ: map them to BT.709, or refuse.", "tonemap"),
    _clip("", "--on-cut", choice("ignore", "stop", "reset", "split"), "What a hard cut in the clip does.", "split"),
    _clip("", "--cuts", FILE, "Where cuts lie: a frame number a line.", otherwise="they are found"),
    _clip(
        "", "--max-bad-frames", INTEGER, "Damaged frames concealed before giving up.", "100", bounds=bounds.BAD_FRAMES
    ),
    _clip("", "--max-pixels", INTEGER, "Pictures with more pixels are refused.", "35389440", bounds=bounds.PIXELS),
    _clip("", "--max-fetch", BYTES, "Of a VIDEO by address: at most so much.", "20GB"),
    _clip("", "--fetch-timeout", NUMBER, "And within so many seconds.", "3600.0", bounds=bounds.SECONDS),
    _output("", "--out", FOLDER, "The run directory.", required=True),
    _output("", "--keep", choice("none", "frames", "all"), "Frames kept in the store.", "none"),
    _output(GENERATION, "--comparison", FLAG, "Also a side-by-side comparison.mp4."),
    _output("", "--json", FLAG, "One JSON object a line on stdout.", parameter="as_json"),
    _output("", "--overwrite", FLAG, "Do again what another config changes."),
)
"""In the order of the help."""


def options_for(*purposes: str) -> tuple[Option, ...]:
    """The options that matter for any of these purposes."""
    return tuple(item for item in OPTIONS if not item.only or item.only in purposes)


def picked(*parameters: str) -> tuple[Option, ...]:
    """Options by the names of their values, in the table's order."""
    found = tuple(item for item in OPTIONS if item.parameter in parameters)
    assert len(found) == len(parameters), set(parameters) - {item.parameter for item in found}
    return found


def check_bounds(values: Any, among: Iterable[Option] = OPTIONS) -> None:
    """Check every number that is an attribute of `values` by its option's name.

    Raises:
        UsageError: for the first that is outside.
    """
    for item in among:
        item.check(getattr(values, item.parameter, None))
