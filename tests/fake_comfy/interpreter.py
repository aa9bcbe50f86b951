"""Runs a graph node by node, with a cache by what goes in, and tells about it as the server's executor does."""

import io
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from fake_comfy.generators import Generator
from fake_comfy.others import pose_alone, quadmask_levels, void_inpaint, wan_animate, wan_scail
from fake_comfy.vace import Array, Conditioning, Context, Latent, Slots, pad, wan_vace_to_video

Json = Any
Step = Callable[[int, int], None]
MODEL_NODES = (
    "UNETLoader", "UnetLoaderGGUF", "CLIPLoader", "VAELoader", "LoraLoaderModelOnly", "CLIPVisionLoader",
    "CLIPVisionEncode", "WanVideoModelLoader", "LoadWanVideoT5TextEncoder", "WanVideoVAELoader", "WanVideoLoraSelect",
    "KSamplerSelect", "VOIDSampler",
)  # fmt: skip
RIGHT_ROWS_FROM = (0, 38, 1)  # of WanAnimateToVideo


def png_of(frame: Array) -> bytes:
    """A picture `[h, w, 3]` float32 of 0 to 1, as SaveImage and SaveImageWebsocket make it."""
    picture = np.clip(np.float32(255.0) * frame, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def frames_of(video: bytes) -> Array:
    """`[n, h, w, 3]` float32 of 0 to 1, as a loader gives them."""
    with av.open(io.BytesIO(video), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.float32) / np.float32(255.0)


class Files:
    """The input and output folders: `subfolder/name` -> bytes; `sent`: what was last uploaded by that name and no empty
    file."""

    def __init__(self) -> None:
        self.input: dict[str, bytes] = {}
        self.sent: dict[str, bytes] = {}
        self.output: dict[str, bytes] = {}

    def known(self) -> set[str]:
        """Names that nodes may load: of the input folder, and of the output folder with that behind them."""
        return set(self.input) | {f"{name} [output]" for name in self.output}


class OnDisk(dict[str, bytes]):
    """A server's output folder, on this machine's disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        (folder / "skate").mkdir(parents=True)

    def __setitem__(self, name: str, data: bytes) -> None:
        super().__setitem__(name, data)
        (self.folder / name).write_bytes(data)


class Interpreter:
    """One server's executor."""

    def __init__(self, files: Files, generator: Generator, version: tuple[int, ...] = ()) -> None:
        self.files = files
        self.version = version
        self.generator = generator
        self.cache: dict[str, tuple[Any, ...]] = {}
        self.ui: dict[str, Json] = {}
        self._never_twice = itertools.count()

    def reset(self) -> None:
        """Drop the cache."""
        self.cache.clear()
        self.ui.clear()

    def signature(self, graph: Mapping[str, Json], node_id: str) -> str:
        """What a node's result depends on: class, values, files and everything above it."""
        node = graph[node_id]
        parts: list[Json] = [node["class_type"]]
        if node["class_type"] == "SaveImageWebsocket":
            parts.append(next(self._never_twice))  # as its IS_CHANGED says: it is never taken from the cache
        for key, value in sorted(node["inputs"].items()):
            if isinstance(value, list):
                parts.append([key, self.signature(graph, value[0]), value[1]])
            else:
                parts.append([key, value])
                if key in ("file", "video", "image") and isinstance(value, str):
                    parts.append(hash(self.files.input.get(value)))
        return json.dumps(parts)

    def order(self, graph: Mapping[str, Json], outputs: list[str]) -> list[str]:
        """The nodes that the outputs need, each after what it needs."""
        done: list[str] = []

        def visit(node_id: str) -> None:
            for value in graph[node_id]["inputs"].values():
                if isinstance(value, list) and value[0] not in done:
                    visit(value[0])
            if node_id not in done:
                done.append(node_id)

        for output in outputs:
            visit(output)
        return done

    def execute(
        self,
        graph: Mapping[str, Json],
        node_id: str,
        results: dict[str, tuple[Any, ...]],
        step: Step,
    ) -> tuple[Any, ...]:
        """The outputs of one node."""
        node = graph[node_id]
        values = {
            key: results[value[0]][value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()
        }
        name = node["class_type"]
        if name in MODEL_NODES:
            return (name,)
        if name in ("KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"):
            return self._sample(values, graph, step)
        if name == "WanVideoSampler":
            return self._sample_wrapped(values, graph, step)
        if name == "CogVideoSampler":
            return self._sample_cog(values, graph, step)
        if name == "SaveImage":
            return self._save(node_id, values)
        if name == "PreviewImage":
            return self._save(node_id, {**values, "filename_prefix": f"temp/{node_id}"})
        if name == "CheckpointLoaderSimple":
            return ("MODEL", "CLIP", "VAE")
        if name == "SaveImageWebsocket":
            return tuple(png_of(frame) for frame in values["images"])
        if name == "SaveLatent":
            return self._save_latent(node_id, values)
        result = getattr(self, f"_{name}")(values)
        return result if isinstance(result, tuple) else (result,)

    def _sample(self, values: Json, graph: Json, step: Callable[[int, int], None]) -> tuple[Latent]:
        positive, seed, steps = values.get("positive"), values.get("seed"), values.get("steps")
        if "guider" in values:
            positive, seed, steps = values["guider"], values["noise"], values["sigmas"]
        first, last = values.get("start_at_step", 0), min(values.get("end_at_step", steps), steps)
        for index in range(first, last):
            step(index + 1 - first, last - first)
        latent: Latent | Slots = values["latent_image"]
        frames = self.generator(positive, values.get("noise_seed", 0) if seed is None else seed, graph)
        if isinstance(latent, Slots):
            context = positive.contexts[0]
            frames = latent.held_in(frames)
            length, height, width = context.inactive.shape[:3]
            latent = Latent(length, height, width, int(context.reference))
        return (replace(latent, frames=frames),)

    def _sample_wrapped(self, values: Json, graph: Json, step: Callable[[int, int], None]) -> tuple[Latent, Latent]:
        context: Context = values["image_embeds"]
        length, height, width = context.inactive.shape[:3]
        wrapped = {**values, "positive": Conditioning(values["text_embeds"].text, (context,))}
        latent = self._sample({**wrapped, "latent_image": Latent(length, height, width)}, graph, step)[0]
        return latent, latent

    def _sample_cog(self, values: Json, graph: Json, step: Callable[[int, int], None]) -> tuple[Latent]:
        context: Context = values["image_cond_latents"]
        length, height, width = context.inactive.shape[:3]
        assert length == values["num_frames"]
        wrapped = {**values, "positive": Conditioning(values["positive"].text, (context,))}
        return self._sample({**wrapped, "latent_image": Latent(length, height, width)}, graph, step)

    def _save(self, node_id: str, values: Json) -> tuple[()]:
        subfolder, _, stem = values["filename_prefix"].rpartition("/")
        images = []
        for index, frame in enumerate(values["images"]):
            name = f"{stem}_{index + 1:05}_.png"
            self.files.output[f"{subfolder}/{name}"] = png_of(frame)
            images.append({"filename": name, "subfolder": subfolder, "type": "output"})
        self.ui[node_id] = {"images": images}
        return ()

    def _save_latent(self, node_id: str, values: Json) -> tuple[()]:
        subfolder, _, stem = values["filename_prefix"].rpartition("/")
        name = f"{stem}_00001_.latent"
        assert values["samples"].extra == 0, "a reference's slot is trimmed before"
        data = io.BytesIO()
        np.save(data, values["samples"].frames)
        self.files.output[f"{subfolder}/{name}"] = data.getvalue()
        self.ui[node_id] = {"latents": [{"filename": name, "subfolder": subfolder, "type": "output"}]}
        return ()

    def _LoadLatent(self, values: Json) -> Slots:
        name, _, kind = values["latent"].partition(" ")
        assert kind == "[output]"
        return Slots.of_frames(np.load(io.BytesIO(self.files.output[name])))

    def _LatentCut(self, values: Json) -> Slots:
        assert values["dim"] == "t"
        samples = values["samples"]
        slots = samples if isinstance(samples, Slots) else Slots.empty(samples)
        assert 0 <= values["index"] < values["index"] + values["amount"] <= len(slots.parts)
        return Slots(slots.parts[values["index"] : values["index"] + values["amount"]])

    def _LatentConcat(self, values: Json) -> Slots:
        assert values["dim"] == "t"
        return Slots((*values["samples1"].parts, *values["samples2"].parts))

    def _SetLatentNoiseMask(self, values: Json) -> Slots:
        samples, mask = values["samples"], values["mask"]
        assert len(mask) == len(samples.parts), "one mask frame a slot: no time is interpolated"
        return Slots(samples.parts, tuple(bool(each.max() == 0) for each in mask))

    def _load(self, name: str) -> Array:
        return frames_of(self.files.input[name])

    def _LoadVideo(self, values: Json) -> Any:
        return values["file"]

    def _GetVideoComponents(self, values: Json) -> Any:
        return self._load(values["video"]), None, 16.0

    def _VHS_LoadVideo(self, values: Json) -> Any:
        frames = self._load(values["video"])
        return frames, len(frames), None, {}

    def _LoadImage(self, values: Json) -> Any:
        data = np.frombuffer(self.files.input[values["image"]], np.uint8)
        decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
        picture = decoded[..., ::-1].astype(np.float32) / np.float32(255.0)
        return picture[None], np.zeros((1, *picture.shape[:2]), np.float32)

    def _SAM3_Detect(self, values: Json) -> Any:
        """A quarter of the picture's width low in its middle, whatever the text is; nothing where it is "nothing", or
        the name of a colour that the picture has less of than of another."""
        pictures, text = values["image"], values["conditioning"].text
        mask = np.zeros(pictures.shape[:3], np.float32)
        height, width = mask.shape[1:]
        colours = ["red", "green", "blue"]
        other = text in colours and int(pictures.mean((0, 1, 2)).argmax()) != colours.index(text)
        if text != "nothing" and not other:
            mask[:, round(0.78 * height) : round(0.91 * height), round(0.375 * width) : round(0.625 * width)] = 1.0
        return mask, [[] for _ in pictures]

    def _MaskToImage(self, values: Json) -> Any:
        return np.repeat(values["mask"][..., None], 3, axis=-1)

    def _ImageToMask(self, values: Json) -> Any:
        return values["image"][..., ["red", "green", "blue", "alpha"].index(values["channel"])]

    def _ImageBatch(self, values: Json) -> Any:
        return np.concatenate([values["image1"], values["image2"]])

    def _ModelSamplingSD3(self, values: Json) -> Any:
        return "model"

    def _CLIPTextEncode(self, values: Json) -> Any:
        return Conditioning(values["text"])

    def _WanVaceToVideo(self, values: Json) -> Any:
        return wan_vace_to_video(**{k: v for k, v in values.items() if k not in ("vae", "batch_size")})

    def _TrimVideoLatent(self, values: Json) -> Any:
        latent: Latent = values["samples"]
        extra = max(0, latent.extra - values["trim_amount"])
        return replace(latent, extra=extra)

    def _VAEDecode(self, values: Json) -> Any:
        latent: Latent = values["samples"]
        assert latent.frames is not None, "a latent that was not sampled"
        frames = np.round(latent.frames * np.float32(255)) / np.float32(255)
        frames = np.concatenate([np.zeros_like(frames[: latent.ahead]), frames])
        return pad(frames, latent.ahead + latent.length + 4 * latent.extra, 0.0)

    def _ImageCompositeMasked(self, values: Json) -> Any:
        weight = values["mask"][..., None]
        return values["destination"] * (1 - weight) + values["source"] * weight

    def _DepthAnythingV2Preprocessor(self, values: Json) -> Any:
        return np.repeat(values["image"].mean(axis=-1, keepdims=True), 3, axis=-1)

    def _ImageCrop(self, values: Json) -> Any:
        left, top = values["x"], values["y"]
        return values["image"][:, top : top + values["height"], left : left + values["width"]]

    def _UpscaleModelLoader(self, values: Json) -> Any:
        return "model"

    def _ImageUpscaleWithModel(self, values: Json) -> Any:
        return values["image"].repeat(2, axis=1).repeat(2, axis=2)

    def _RandomNoise(self, values: Json) -> Any:
        return values["noise_seed"]

    def _CFGGuider(self, values: Json) -> Any:
        return values["positive"]

    def _BasicScheduler(self, values: Json) -> Any:
        return values["steps"]

    def _WanAnimateToVideo(self, values: Json) -> Any:
        left = ("vae", "batch_size", "clip_vision_output", "video_frame_offset")
        assert values["video_frame_offset"] == 0
        return wan_animate(right=self.version >= RIGHT_ROWS_FROM, **{k: v for k, v in values.items() if k not in left})

    def _WanSCAILToVideo(self, values: Json) -> Any:
        left = {"vae", "batch_size", "clip_vision_output", "video_frame_offset"}
        left |= {"pose_strength", "pose_start", "pose_end"}
        return wan_scail(**{k: v for k, v in values.items() if k not in left})

    def _ImageFromBatch(self, values: Json) -> Any:
        pictures, first = values["image"], min(values["batch_index"], len(values["image"]) - 1)
        return pictures[first : first + values["length"]]

    def _VOIDQuadmaskPreprocess(self, values: Json) -> Any:
        assert values["dilate_width"] == 0
        return quadmask_levels(values["mask"])

    def _VOIDInpaintConditioning(self, values: Json) -> Any:
        return void_inpaint(**{key: value for key, value in values.items() if key not in ("vae", "batch_size")})

    def _WanVideoTextEncode(self, values: Json) -> Any:
        return Conditioning(values["positive_prompt"])

    def _WanVideoVACEEncode(self, values: Json) -> Any:
        nothing = Conditioning("")
        found = wan_vace_to_video(
            nothing, nothing, values["width"], values["height"], values["num_frames"], values["strength"],
            values["input_frames"], values["input_masks"], values.get("ref_images"),
        )  # fmt: skip
        return found[0].contexts[0]

    def _WanVideoDecode(self, values: Json) -> Any:
        return self._VAEDecode(values)

    def _DownloadAndLoadCogVideoModel(self, values: Json) -> Any:
        return "model", "vae"

    def _CogVideoTextEncode(self, values: Json) -> Any:
        return Conditioning(values["prompt"]), "clip"

    def _CogVideoImageEncode(self, values: Json) -> Any:
        return pose_alone(values["start_image"])

    def _CogVideoDecode(self, values: Json) -> Any:
        return self._VAEDecode(values)
