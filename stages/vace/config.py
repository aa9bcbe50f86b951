"""Options of the ComfyUI stage."""

from dataclasses import dataclass
from typing import Self

from stages import bounds
from stages.base import Window
from stages.generator import Request
from stages.region import DILATE, check_region
from stages.server.client import Timeouts
from stages.server.lora import Lora
from stages.vace.condition import Guides
from stages.vace.sizes import check_size
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import UsageError

CONTINUITIES = ("tail", "blend", "latent")


@dataclass(frozen=True)
class ComfyConfig:
    """What is generated and where.

    Attributes:
        servers: `HOST:PORT` each, at least one.
        workflow: a recipe's name, or the path of a workflow in API format; None: the default recipe.
        models, loras: files in place of, and beside, the graph's. profile: settings of the recipe; None: the graph's.
        prompt, negative: texts; "" leaves the workflow's own.
        reference: path of a picture of the new look.
        seed: 0 <= seed < 2**64.
        steps, cfg, strength: None leaves the workflow's own.
        size: (width, height) it is generated at, multiples of 16; None: fitted to the source's shape near 832x480.
        reskin: "both", "object" or "person"; dilate: around object and person, pixels at the generator's size.
        keeps: whether there are others, `masks/all`, who stay as they are.
        region: its shape; fill, object_guide, pose_style: what stands in it; "" what the recipe's model is made for.
        upscale: a model of the server that enlarges what was made; None: it stays at `size`.
        comfy_output: output folder of a server on this machine, from which pictures that it saved for us are deleted
            once they are committed; None: they stay.
        pose_pictures: folder of skeleton pictures, one a frame of the clip, in place of drawn skeletons.
        continuity: "tail" gives each window the end of the one before; "blend" makes all windows alone; "latent" hands
            on the end of the one before as latents too, which lie on the one server.
        timeout_s: seconds for a window once the server works on it.
        patience_s, failover_s: seconds a server that does not answer is waited for, alone and beside living ones.
        connect_s, request_s, poll_s: seconds for a connection, for one answer, between looks at the queue.
        sharing: those of the servers that work on our own GPU: their models leave it when ours are to work.
        max_pixels: width times height of the largest reference that is read.
    """

    servers: tuple[str, ...] = ()
    workflow: str | None = None
    models: tuple[str, ...] = ()
    loras: tuple[Lora, ...] = ()
    profile: str | None = None
    prompt: str = ""
    negative: str = ""
    reference: str | None = None
    seed: int = 0
    steps: int | None = None
    cfg: float | None = None
    strength: float | None = None
    size: tuple[int, int] | None = None
    reskin: str = "both"
    dilate: tuple[int, int] = DILATE
    keeps: bool = False
    region: str = "tight"
    fill: str = ""
    object_guide: str = ""
    continuity: str = "tail"
    pose_style: str = ""
    upscale: str | None = None
    comfy_output: str | None = None
    pose_pictures: str | None = None
    timeout_s: float = 3600.0
    patience_s: float = 120.0
    failover_s: float = 10.0
    connect_s: float = 10.0
    request_s: float = 120.0
    poll_s: float = 1.0
    sharing: tuple[str, ...] = ()
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        check_region(self.reskin, self.dilate, self.region)
        Guides(fill=self.fill, object_guide=self.object_guide or "none")
        if self.size is not None:
            check_size(self.size)
        if self.continuity not in CONTINUITIES:
            raise UsageError(f"--continuity {self.continuity} is none of {', '.join(CONTINUITIES)}")
        if self.continuity == "latent" and len(set(self.servers)) > 1:
            raise UsageError(
                f"--continuity latent: latents lie on the server that made them, and {len(set(self.servers))} are "
                "given: give one --server, or --continuity tail"
            )
        bounds.SEED.check("--seed", self.seed)
        bounds.SECONDS.check("--timeout", self.timeout_s)
        bounds.STEPS.check("--steps", self.steps)
        bounds.CFG.check("--cfg", self.cfg)
        bounds.STRENGTH.check("--strength", self.strength)

    def timeouts(self) -> Timeouts:
        """How long the client waits."""
        return Timeouts(
            job=self.timeout_s,
            connect=self.connect_s,
            request=min(self.request_s, self.timeout_s),
            patience=self.patience_s,
            failover=self.failover_s,
            poll=self.poll_s,
        )


@dataclass(frozen=True)
class Attempt:
    """What makes one try at a window differ from another: number, dilation, VACE strength, seed, prompt."""

    window: int
    number: int
    dilate: tuple[int, int]
    strength: float | None
    seed: int
    text: str

    @classmethod
    def of(cls, config: ComfyConfig, window: Window, request: Request) -> Self:
        """What this request changes of a config."""
        return cls(
            window=window.index,
            number=request.number,
            dilate=config.dilate if request.dilate is None else request.dilate,
            strength=config.strength if request.strength is None else request.strength,
            seed=config.seed if request.seed is None else request.seed,
            text=config.prompt if request.text is None else request.text,
        )
