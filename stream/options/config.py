"""The options of a run: one frozen dataclass, and what each option can change.

Every field says from which stage on it can change a result. That gives the config digest, the refusal of another config
on an existing run, and what `--overwrite` has to do again.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.choices import PLATE, TOGETHER
from stages.cuts import shot_starts
from stages.gate import IOU, ONLY_IOU, Bound, Gate, bounds_of, check_gate, measured_apart
from stages.generators import GENERATORS, default_generator
from stages.poses.lock import RAMP
from stages.prompts import Box, Correction, ObjectPrompt, check_box
from stages.region import DILATE, REMOVE, check_region
from stages.server.address import on_this_machine, parse_server
from stages.server.lora import Lora
from stages.subjects import OBJECT, PERSON, Reskin, Subject, gated_by_kind, plain_subjects
from stages.vace.sizes import check_size
from storage.boundary import convert, printable
from storage.errors import InputError, UsageError
from stream.engine.windows import WindowPlan
from stream.options.passes import changed, check_scene, removed
from stream.options.plain import plain_values
from stream.options.table import check_bounds

FINISH = "finish"  # after the chain: what only the verdict and the report depend on


def since(stage: str, **given: Any) -> Any:
    """A field that can change results from this stage on."""
    return field(metadata={"since": stage}, **given)


def free(**given: Any) -> Any:
    """A field that can change no result: servers, limits, what is kept."""
    return field(metadata={"since": None}, **given)


def named(stage: str, *identities: str, **given: Any) -> Any:
    """The name or path of a file that the digests `identities`, beside the config, stand for: they count, not it."""
    return field(metadata={"since": stage, "identities": identities}, **given)


@dataclass(frozen=True)
class RunConfig:
    """Everything that was asked for, resolved. Names as on the command line; sizes in pixels, times in seconds."""

    prompt: ObjectPrompt | None = since("pose", default=None)  # None: a scene says what is followed
    video: str = free(default="")  # the input's identity (size and sha256) is kept beside the config
    # "run"; "extract": pose and masks only; "given": with masks and poses from files
    chain: str = since("generate", default="run")
    masks: str | None = free(default=None)  # object and person; their content is identified beside the config
    person_masks: str | None = free(default=None)
    pose_file: str | None = free(default=None)

    fps: float | None = since("decode", default=None)
    hdr: str = since("decode", default="tonemap")
    work_height: int | None = since("decode", default=None)  # pixels; None: the clip's
    max_bad_frames: int = free(default=100)  # bounds: what is within both of two is decoded alike
    max_pixels: int = free(default=8192 * 4320)
    window: int = since("decode", default=81)
    overlap: int = since("decode", default=21)
    correct: tuple[Correction, ...] = since("track", default=())
    correct_person: tuple[Correction, ...] = since("track", default=())
    person_box: Box | None = since("pose", default=None)
    scene: tuple[Subject, ...] | None = since("track", default=None)  # in place of the three
    reskins: tuple[Reskin, ...] = since("regions", default=())  # of the scene's subjects; empty: all alike
    gated: tuple[str, ...] | None = since("score", default=None)  # of them; None: the objects
    on_cut: str = since("decode", default="split")
    cuts: tuple[int, ...] | None = since("decode", default=None)  # None: found
    track_view: str = since("track", default="full")  # or "follow", "chase"
    view: str | Box = since("aim", default="auto")  # or "full", "follow"
    stabilise: int | None = since("aim", default=None)  # frames; 0: off; None: as `stages.aim` says

    text: str = since("generate", default="")
    negative: str = since("generate", default="")
    swap: tuple[tuple[str, str], ...] = since("generate", default=())  # names, and what they become
    passes: str = since("generate", default=TOGETHER)
    reference: str | None = named("generate", "reference", default=None)
    generator: str = since("generate", default=default_generator(False))
    server: tuple[str, ...] = free(default=())
    workflow: str | None = named("generate", "workflow", default=None)  # a recipe's name, or a file
    model: tuple[str, ...] = since("generate", default=())
    lora: tuple[Lora, ...] = since("generate", default=())
    profile: str | None = since("generate", default=None)
    upscale: str | None = since("generate", default=None)
    comfy_output: str | None = free(default=None)
    seed: int = since("generate", default=0)
    steps: int | None = since("generate", default=None)
    cfg: float | None = since("generate", default=None)
    strength: float | None = since("generate", default=None)
    object_guide: str = since("generate", default="scribble")
    size: tuple[int, int] | None = since("generate", default=None)
    reskin: str = since("regions", default="both")
    dilate: tuple[int, int] = since("generate", default=DILATE)  # object, person; pixels at the generator's size
    region: str = since("generate", default="tight")
    fill: str = since("generate", default="")  # "": what the control picture has behind it
    continuity: str = since("generate", default="tail")
    match_grain: bool = since("composite", default=False)
    foot_lock: bool = since("blend", default=False)
    deflicker: float = since("blend", default=0.0)  # 0: off
    timeout: float = free(default=3600.0)

    sam: str = named("track", "sam weights", "sam config", default="small")
    memory: str = since("track", default="stock")
    amodal: str | None = named("occlusion", "amodal workflow", default=None)  # `COMPLETING`, or a file
    sam_config: str | None = named("track", "sam config", default=None)
    pose: str = named("pose", "pose weights", default="dwpose-l-384")
    detector: str = named("pose", "detector weights", default="yolox-m")
    pose_style: str = since("generate", default="vace")
    detect_every: int = since("pose", default=3)
    smooth: str = since("pose", default="one-euro")
    state_device: str = free(default="cpu")
    sam_compile: bool = since("track", default=False)
    device: str = since("pose", default="cpu")

    iou_threshold: float = since(FINISH, default=0.90)
    gate: Gate = since(FINISH, default=ONLY_IOU)
    baselines: bool = since(FINISH, default=False)
    retries: int = free(default=0)
    vram: int | None = free(default=None)
    ram: int | None = free(default=None)
    share_gpu: str = free(default="auto")  # or "yes", "no"
    ahead: int | None = free(default=None)  # windows; None: as many as can be of use
    keep: str = free(default="none")
    comparison: bool = free(default=False)

    def __post_init__(self) -> None:
        for name, value in plain_values(self).items():
            object.__setattr__(self, name, value)
        if self.generator not in GENERATORS:
            raise UsageError(f"--generator {self.generator} is none of {', '.join(GENERATORS)}")
        self.plan  # noqa: B018 (validates)
        check_scene(self)
        if self.person_box is not None:
            check_box("--person-box", self.person_box)
        if not isinstance(self.view, str):
            check_box("--view", self.view)
        for correction in (*self.correct, *self.correct_person):
            if correction.box is not None:
                check_box(f"--correct {correction.frame}:", correction.box)
        check_bounds(self)
        check_gate(self.gate)
        check_region(self.changes, self.dilate, self.region)
        self._check_removal()
        self._check_finishing()
        if self.size is not None:
            check_size(self.size)
        if self.continuity == "latent" and (self.window - self.overlap) % 4:
            fitting = self.overlap // 4 * 4 + 1
            raise UsageError(
                f"--continuity latent: windows of {self.window} frames that share {self.overlap} do not begin a whole "
                "number of latents (4 frames) after one another: "
                f"give --overlap {fitting if 2 * fitting < self.window else fitting - 4}"
            )

    def _check_finishing(self) -> None:
        if self.foot_lock and self.overlap <= RAMP:
            raise UsageError(
                f"--foot-lock looks {RAMP + 1} frames ahead for the end of a contact, --overlap {self.overlap} shows "
                f"fewer: give --overlap {RAMP + 1} or more"
            )
        apart = self.chain == "given" or self.scene is not None or self.reskin == REMOVE
        if self.foot_lock and (apart or self.changes == "object"):
            raise UsageError(
                "--foot-lock holds the feet of the one regenerated person, found by our pose models: leave it out with "
                f"--masks, --scene, --reskin object and --reskin {REMOVE}"
            )

    def _check_removal(self) -> None:
        kind = GENERATORS[self.generator]
        if kind.removes and self.generates and self.reskin != REMOVE:
            raise UsageError(f"--generator {self.generator} makes nothing new: it is for --reskin {REMOVE}")
        if self.reskin != REMOVE or not self.generates:
            return
        judging = "--baselines" if self.baselines else "--gate" if self.gate != ONLY_IOU else ""
        if judging:
            raise UsageError(f"{judging}: a removed subject is never gated, and with --reskin {REMOVE} nothing else is")
        if not (kind.removes or kind.on_servers):
            raise UsageError(f"--reskin {REMOVE}: --generator {self.generator} cannot remove: leave it out")
        if kind.on_servers and self.workflow is None:
            raise UsageError(
                f"--reskin {REMOVE} needs no server: leave --server out, or give a --workflow that removes (void)"
            )
        if kind.removes and (self.view not in ("auto", "full") or self.stabilise):
            raise UsageError(f"--reskin {REMOVE}: plates are of the whole frame: leave --view and --stabilise out")

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Who is followed: the scene's, or the two that the plain options make."""
        if self.scene is not None:
            return self.scene
        assert self.prompt is not None  # checked on construction
        return plain_subjects(self.prompt, self.correct, self.person_box, self.correct_person)

    @property
    def persons(self) -> tuple[str, ...]:
        """The names of those subjects that are persons."""
        return tuple(subject.name for subject in self.subjects if subject.kind == PERSON)

    @property
    def changes(self) -> str:
        """Whose pixels change: "both", "object" or "person"."""
        return "both" if self.reskin == REMOVE else self.reskin

    @property
    def judges(self) -> bool:
        """Whether anything is scored: a removed subject is not."""
        return self.generates and self.reskin != REMOVE and bool(self.followed)

    @property
    def followed(self) -> tuple[Subject, ...]:
        """Who is looked for in the result: the subjects that do not vanish."""
        gone = [] if self.scene is None else [who.name for who, _ in removed(self)]
        return tuple(subject for subject in self.subjects if subject.name not in gone)

    @property
    def keeps_plates(self) -> bool:
        """Whether what is behind the subjects is asked for."""
        return self.generates and (GENERATORS[self.generator].removes or self.fill == PLATE)

    @property
    def proved(self) -> tuple[str, ...]:
        """The names of those whose place is proved: the gate goes by them."""
        if self.scene is None:
            return (OBJECT,)
        asked = gated_by_kind(self.scene) if self.gated is None else self.gated
        return tuple(subject.name for subject in self.followed if subject.name in asked)

    @property
    def keeps(self) -> bool:
        """Whether one generation has to leave subjects of the scene as they are."""
        return self.scene is not None and self.passes == TOGETHER and len(changed(self)) < len(self.scene)

    @property
    def has_view(self) -> bool:
        """Whether the generator may look through a view."""
        looks = self.generates and not GENERATORS[self.generator].removes
        return looks and (self.view != "full" or bool(self.stabilise))

    @property
    def follows_motion(self) -> bool:
        """Whether the path of that view may be steadied."""
        return self.has_view and (self.view in ("auto", "follow") if self.stabilise is None else self.stabilise > 0)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What every frame must hold."""
        return bounds_of(self.gate, self.iou_threshold)

    @property
    def iou_bound(self) -> float:
        """What the IoU must be above; `--gate iou=X` says it, else `--iou-threshold`."""
        return next((bound.value for bound in self.bounds if bound.metric == IOU), self.iou_threshold)

    @property
    def measures(self) -> bool:
        """Whether the gate asks for more than the score stage gives."""
        return self.judges and measured_apart(self.gate)

    @property
    def plan(self) -> WindowPlan:
        """The clip's windows."""
        return WindowPlan(self.window, self.overlap, GENERATORS[self.generator].geometry.frame_step)

    def count_windows(self, frames: int) -> int:
        """How many windows a clip of so many frames has; cuts that are still to be found may change that."""
        return self.plan.count(frames, shot_starts(self.cuts or (), frames) if self.on_cut == "split" else ())

    @property
    def sharing(self) -> tuple[str, ...]:
        """The servers whose models have our GPU by turns with ours (`--share-gpu`); with auto those on this machine."""
        asked = self.amodal is not None or (self.generates and GENERATORS[self.generator].on_servers)
        if not asked or self.device != "cuda" or self.share_gpu == "no":
            return ()
        return tuple(text for text in self.server if self.share_gpu == "yes" or on_this_machine(parse_server(text)))

    @property
    def shares_gpu(self) -> bool:
        """Whether our models and a server's make room for each other."""
        return bool(self.sharing)

    @property
    def windows_ahead(self) -> int:
        """How many windows beyond the first unfinished one are worked on (`--ahead`)."""
        if self.shares_gpu:  # a server's models and ours work by turns
            return 0
        if self.ahead is not None:
            return self.ahead
        if not GENERATORS[self.generator].on_servers or not self.generates:
            return 0
        return len(set(self.server)) if self.continuity == "blend" else 1

    @property
    def given(self) -> tuple[Path, Path | None, Path] | None:
        """Masks of the object, of the person, and poses, where they were made elsewhere."""
        if self.masks is None or self.pose_file is None:
            return None
        return Path(self.masks), Path(self.person_masks) if self.person_masks else None, Path(self.pose_file)

    @property
    def generates(self) -> bool:
        """Whether anything is generated, encoded and scored."""
        return self.chain != "extract"

    def to_json(self) -> dict[str, Any]:
        """JSON values by field; `from_json` is the inverse."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], what: str = "config") -> "RunConfig":
        """The config that `to_json` wrote.

        Args:
            what: names it in the error.

        Raises:
            InputError: it is none, or of a program with other options.
            UsageError: options that contradict each other.
        """
        given = dict(values)
        strange = sorted(given.keys() - {item.name for item in dataclasses.fields(cls)})
        if strange:
            raise InputError(f"{what}: {printable(strange[0], 40)}: is no option of this version")
        if isinstance(given.get("dilate"), int):  # of the source's pixels in runs of before: another value, it differs
            given["dilate"] = [given["dilate"]] * 2
        return convert(given, cls, what, InputError)

    def decisive(self) -> dict[str, tuple[str, Any]]:
        """`(since, JSON value)` of every field that can change a result."""
        values = self.to_json()
        found = {}
        for item in dataclasses.fields(self):
            if item.metadata["since"] is not None:
                found[item.name] = (item.metadata["since"], values[item.name])
        return found


SINCE = {item.metadata["since"] for item in dataclasses.fields(RunConfig)} - {None} | {"motion"}
"""The stages from which on an option can change a result; whether the background is followed hangs on several."""
