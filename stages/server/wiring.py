"""What the nodes of a graph take: where videos, pictures, size, text, seed and settings go in, by class of node.

The names of inputs are the nodes' own, as `/object_info` gives them (ComfyUI 0.3.64 and 0.38.1, VOID's as
`comfy_extras/nodes_void.py` has them, kijai/ComfyUI-WanVideoWrapper, kijai/ComfyUI-CogVideoXWrapper).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

LOADERS = {"LoadVideo": "file", "VHS_LoadVideo": "video", "LoadImage": "image"}
"""Classes that read an uploaded file, and the input that takes its name."""
VIDEO_LOADERS = ("LoadVideo", "VHS_LoadVideo")
"""Those that read a video: LoadImage fails on one, once the job runs."""
LOADS_ALL: Mapping[str, Mapping[str, object]] = {
    "VHS_LoadVideo": {"force_rate": 0, "frame_load_cap": 0, "skip_first_frames": 0, "select_every_nth": 1,
                      "custom_width": 0, "custom_height": 0, "format": "None"},
}  # fmt: skip
"""What has one read every frame of its file as it is: a user's cuts and rates were for a video of the user's."""

TITLES = {
    "control": "skate control video",
    "mask": "skate control mask",
    "pose": "skate pose video",
    "background": "skate background video",
    "face": "skate face video",
    "driving": "skate driving video",
    "identities": "skate identities",
    "before": "skate frames before",
    "source": "skate source video",
    "quadmask": "skate quadmask",
    "objects": "skate object mask",
    "reference": "skate reference",
    "reference mask": "skate reference mask",
}
"""What is uploaded, by channel, and the title of the loader that takes it."""
PICTURES = ("reference", "reference mask")
"""Channels that are one picture."""


@dataclass(frozen=True)
class Wiring:
    """A class of node that a window's videos go into.

    Attributes:
        node: its class.
        family: which of `stages.recipes` makes what it takes.
        takes: channel -> its input.
        needed: channels without which a graph is of no use.
        size: input -> what goes in: "width", "height" or "length".
        strength: its input that says how strongly the control guides.
        size_of: the same as `size`, of other classes of node.
    """

    node: str
    family: str
    takes: Mapping[str, str]
    needed: tuple[str, ...]
    size: Mapping[str, str] = field(default_factory=lambda: {"width": "width", "height": "height", "length": "length"})
    strength: str | None = None
    size_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


WIRINGS = (
    Wiring(
        "WanVaceToVideo",
        "vace",
        {"control": "control_video", "mask": "control_masks", "reference": "reference_image"},
        ("control", "mask"),
        strength="strength",
    ),
    Wiring(
        "WanVideoVACEEncode",
        "vace",
        {"control": "input_frames", "mask": "input_masks", "reference": "ref_images"},
        ("control", "mask"),
        {"width": "width", "height": "height", "num_frames": "length"},
        strength="strength",
    ),
    Wiring(
        "WanAnimateToVideo",
        "wan-animate",
        {
            "pose": "pose_video",
            "face": "face_video",
            "background": "background_video",
            "mask": "character_mask",
            "before": "continue_motion",
            "reference": "reference_image",
        },
        ("pose", "background", "mask", "reference"),
    ),
    Wiring(
        "WanSCAILToVideo",
        "scail2",
        {
            "driving": "pose_video",
            "identities": "pose_video_mask",
            "before": "previous_frames",
            "reference": "reference_image",
            "reference mask": "reference_image_mask",
        },
        ("driving", "identities", "reference", "reference mask"),
        strength="pose_strength",
    ),
    Wiring(
        "CogVideoImageEncode",
        "cogvideox-fun",
        {"pose": "start_image"},
        ("pose",),
        {},  # the size is the pose video's own
        strength="strength",
        size_of={"CogVideoSampler": {"num_frames": "length"}},
    ),
    Wiring(
        "VOIDInpaintConditioning",
        "void",
        {"source": "video", "quadmask": "quadmask"},
        ("source", "quadmask"),
        size_of={"ImageFromBatch": {"length": "length"}},  # it leaves out what is decoded ahead of the window
    ),
)


@dataclass(frozen=True)
class SamplerInputs:
    """Where a class of sampler takes seed, steps and guidance.

    Each is `input`, or `(link, input)`: the nearest node upwards through `link` that has such an input.
    """

    seed: str | tuple[str, str]
    steps: str | tuple[str, str]
    cfg: str | tuple[str, str]
    text: str = "positive"


SAMPLERS: Mapping[str, SamplerInputs] = {
    "KSampler": SamplerInputs("seed", "steps", "cfg"),
    "KSamplerAdvanced": SamplerInputs("noise_seed", "steps", "cfg"),
    "SamplerCustom": SamplerInputs("noise_seed", ("sigmas", "steps"), "cfg"),
    "SamplerCustomAdvanced": SamplerInputs(("noise", "noise_seed"), ("sigmas", "steps"), ("guider", "cfg"), "guider"),
    "WanVideoSampler": SamplerInputs("seed", "steps", "cfg", "text_embeds"),
    "CogVideoSampler": SamplerInputs("seed", "steps", "cfg"),
}
SHIFTS = {"ModelSamplingSD3": "shift", "WanVideoSampler": "shift"}
"""Classes that have the schedule's shift."""

TEXTS: Mapping[str, tuple[str, str]] = {
    "CLIPTextEncode": ("text", "text"),
    "WanVideoTextEncode": ("positive_prompt", "negative_prompt"),
    "CogVideoTextEncode": ("prompt", "prompt"),
}
"""Classes that encode text, and their inputs for what to make and what to avoid."""

SENDS_PICTURES = "SaveImageWebsocket"  # it comes with ComfyUI, in custom_nodes/websocket_image_save.py
PICTURE_OUTPUTS = ("SaveImage", "PreviewImage")
VIDEO_OUTPUTS = {"VHS_VideoCombine": "images", "SaveWEBM": "images", "SaveAnimatedWEBP": "images",
                 "SaveAnimatedPNG": "images", "CreateVideo": "images"}  # fmt: skip
"""Classes that make a video of pictures, and the input that takes these."""

MODEL_LOADERS = {
    "UNETLoader": "unet_name",
    "UnetLoaderGGUF": "unet_name",
    "UnetLoaderGGUFAdvanced": "unet_name",
    "WanVideoModelLoader": "model",
    "DownloadAndLoadCogVideoModel": "model",
}
"""Classes that load what is sampled, and the input that takes its file."""


@dataclass(frozen=True)
class LoraNode:
    """How a LoRA is put between a model's loader and its users.

    Attributes:
        node: class of the node that loads one.
        file, strength: its inputs.
        previous: its input that takes the model, or the LoRA before it.
        into: input of the model's loader that takes the last one; None: it stands between loader and users.
    """

    node: str
    file: str
    strength: str
    previous: str
    into: str | None = None


LORA_NODES: Mapping[str, LoraNode] = {
    "UNETLoader": LoraNode("LoraLoaderModelOnly", "lora_name", "strength_model", "model"),
    "UnetLoaderGGUF": LoraNode("LoraLoaderModelOnly", "lora_name", "strength_model", "model"),
    "UnetLoaderGGUFAdvanced": LoraNode("LoraLoaderModelOnly", "lora_name", "strength_model", "model"),
    "WanVideoModelLoader": LoraNode("WanVideoLoraSelect", "lora", "strength", "prev_lora", into="lora"),
    "DownloadAndLoadCogVideoModel": LoraNode("CogVideoLoraSelect", "lora", "strength", "prev_lora", into="lora"),
}
"""By class of the model's loader."""
