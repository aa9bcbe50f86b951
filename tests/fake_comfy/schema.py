"""Validation of a prompt as `execution.validate_prompt` does it, with its error types and words."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = Any
HERE = Path(__file__).parent
SCHEMA = json.loads((HERE / "object_info.json").read_text())
"""Of a server 0.3.64 with VideoHelperSuite and ComfyUI-GGUF."""
OTHERS = json.loads((HERE / "other_nodes.json").read_text())
"""By their sources: core at 0.38.1 (WanSCAILToVideo), at 349c5aa (VOID: comfy_extras/nodes_void.py), at 56c0ca3
(SAM3_Detect: comfy_extras/nodes_sam3.py) and at 0.3.64 (ImageFromBatch: comfy_extras/nodes_images.py; MaskToImage:
comfy_extras/nodes_mask.py; CheckpointLoaderSimple, PreviewImage: nodes.py), kijai/ComfyUI-WanVideoWrapper,
kijai/ComfyUI-CogVideoXWrapper, Kosinkadink/ComfyUI-VideoHelperSuite (VHS_VideoCombine),
Fannovel16/comfyui_controlnet_aux (depth)."""
UPLOADS = {"LoadLatent": "latent", "LoadVideo": "file", "VHS_LoadVideo": "video", "LoadImage": "image"}
WAN_TEXT, WAN_VAE, VISION = (
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "wan_2.1_vae.safetensors",
    "clip_vision_h.safetensors",
)
UNETS = [
    "wan2.1_vace_1.3B_fp16.safetensors",
    "wan2.1_vace_14B_fp16.safetensors",
    "wan2.2_fun_vace_high_noise_14B_fp8_scaled.safetensors",
    "wan2.2_fun_vace_low_noise_14B_fp8_scaled.safetensors",
    "Wan2_2-Animate-14B_fp8_scaled_e4m3fn_KJ_v2.safetensors",
    "wan2.1_14B_SCAIL_2_fp8_scaled.safetensors",
    "void_pass1.safetensors",
]
MODELS = {
    ("UNETLoader", "unet_name"): UNETS,
    ("UnetLoaderGGUF", "unet_name"): ["Wan2.1-VACE-1.3B-Q8_0.gguf"],
    ("CLIPLoader", "clip_name"): [WAN_TEXT, "t5xxl_fp8_e4m3fn.safetensors", "t5xxl_fp16.safetensors"],
    ("VAELoader", "vae_name"): [WAN_VAE, "cogvideox_vae.safetensors"],
    ("CLIPVisionLoader", "clip_name"): [VISION],
    ("UpscaleModelLoader", "model_name"): ["RealESRGAN_x2plus.pth"],
    ("LoraLoaderModelOnly", "lora_name"): [],
    ("WanVideoModelLoader", "model"): UNETS,
    ("LoadWanVideoT5TextEncoder", "model_name"): ["umt5-xxl-enc-bf16.safetensors"],
    ("WanVideoVAELoader", "model_name"): ["Wan2_1_VAE_bf16.safetensors"],
    ("WanVideoLoraSelect", "lora"): [],
    ("CogVideoLoraSelect", "lora"): [],
    ("CheckpointLoaderSimple", "ckpt_name"): ["sam3.1_multiplex_fp16.safetensors"],
}


def object_info(
    without: frozenset[str] = frozenset(), newer: bool = False, core: bool = False, loras: Sequence[str] = ()
) -> dict[str, Json]:
    """The server's schema with its models filled in, lacking the named node classes or model files.

    Args:
        newer: in the form that newer servers write.
        core: of 0.3.64 alone, without the other nodes.
        loras: the files in its `models/loras`.
    """
    nodes = SCHEMA if core else {**SCHEMA, **OTHERS}
    info = {name: copy.deepcopy(node) for name, node in nodes.items() if name not in without}
    for (name, key), files in MODELS.items():
        if name in info:
            there = list(loras) if key in ("lora", "lora_name") else files
            info[name]["input"]["required"][key][0] = [file for file in there if file not in without]
    if not core and "CLIPLoader" in info:
        info["CLIPLoader"]["input"]["required"]["type"][0].append("cogvideox")  # it came with VOID's nodes
    if newer:
        for node in info.values():
            for inputs in (node["input"].get("required", {}), node["input"].get("optional", {})):
                for spec in inputs.values():
                    if isinstance(spec[0], list):
                        spec[:] = ["COMBO", {**(spec[1] if len(spec) > 1 else {}), "options": spec[0]}]
    return info


def choices(spec: Json) -> list[Json] | None:
    """The options of a combo, in either form the server writes."""
    if isinstance(spec[0], list):
        return list(spec[0])
    return list(spec[1]["options"]) if spec[0] == "COMBO" else None


def validate(
    prompt: Mapping[str, Json], info: Mapping[str, Json], inputs: set[str]
) -> tuple[Json | None, Json, list[str]]:
    """`(error or None, node_errors, good outputs)`; `inputs` are the files in the input folder."""
    for node_id, node in prompt.items():
        if "class_type" not in node or node["class_type"] not in info:
            message = f"Cannot execute because node {node.get('class_type')} does not exist."
            return (
                {"type": "invalid_prompt", "message": message, "details": f"Node ID '#{node_id}'", "extra_info": {}},
                {},
                [],
            )
    outputs = [node_id for node_id, node in prompt.items() if info[node["class_type"]].get("output_node")]
    if not outputs:
        return (
            {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}},
            {},
            [],
        )
    node_errors: dict[str, Json] = {}
    good = []
    for output in outputs:
        if _valid(output, prompt, info, inputs, node_errors, output):
            good.append(output)
    if good:
        return None, node_errors, good
    said = "\n".join(f"{e['message']}: {e['details']}" for item in node_errors.values() for e in item["errors"])
    error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": said}
    return error | {"extra_info": {}}, node_errors, []


def _valid(
    node_id: str,
    prompt: Mapping[str, Json],
    info: Mapping[str, Json],
    inputs: set[str],
    found: dict[str, Json],
    output: str,
) -> bool:
    node = prompt[node_id]
    errors = _node_errors(node, prompt, info, inputs)
    if errors:
        entry = found.setdefault(node_id, {"errors": errors, "dependent_outputs": [], "class_type": node["class_type"]})
        entry["dependent_outputs"].append(output)
    above = True
    for value in node["inputs"].values():
        if isinstance(value, list):
            above = _valid(value[0], prompt, info, inputs, found, output) and above
    return not errors and above


def _node_errors(node: Json, prompt: Mapping[str, Json], info: Mapping[str, Json], inputs: set[str]) -> list[Json]:
    name = node["class_type"]
    schema = info[name]["input"]
    errors: list[Json] = []

    def add(kind: str, message: str, details: str) -> None:
        errors.append({"type": kind, "message": message, "details": details, "extra_info": {}})

    for key, spec in {**schema.get("required", {}), **schema.get("optional", {})}.items():
        if key not in node["inputs"]:
            if key in schema.get("required", {}):
                add("required_input_missing", "Required input is missing", key)
            continue
        value = node["inputs"][key]
        if isinstance(value, list):
            given = info[prompt[value[0]]["class_type"]]["output"][value[1]]
            if isinstance(spec[0], str) and given != spec[0]:
                details = f"{key}, received_type({given}) mismatch input_type({spec[0]})"
                add("return_type_mismatch", "Return type mismatch between linked nodes", details)
        elif UPLOADS.get(name) == key:
            if value not in inputs:
                add(
                    "custom_validation_failed",
                    "Custom validation failed for node",
                    f"{key} - Invalid video file: {value}",
                )
        else:
            _check_value(key, value, spec, add)
    return errors


def _check_value(key: str, value: Json, spec: Json, add: Any) -> None:
    options = choices(spec)
    limits = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if options is not None:
        if value not in options:
            add("value_not_in_list", "Value not in list", f"{key}: '{value}' not in {options}")
    elif "min" in limits and value < limits["min"]:
        add("value_smaller_than_min", f"Value {value} smaller than min of {limits['min']}", key)
    elif "max" in limits and value > limits["max"]:
        add("value_bigger_than_max", f"Value {value} bigger than max of {limits['max']}", key)
