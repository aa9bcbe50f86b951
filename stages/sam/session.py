"""One object followed by the stock predictor, with exactly the memory it can still read: its policy says which that is
(`stages.sam.policy`).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.base import Array, Inputs, Json
from stages.sam.policy import Decoded, MemoryPolicy, Role
from stages.sam.prompts import SamPrompt, point_arrays

OBJECT_ID = 1

# `num_frames` limits the pointers a clip shorter than 16 frames has, and cuts off every frame index past it: for all
# longer clips any number beyond the last index gives stock's result.
LONG_CLIP_FRAMES = 2**31


@dataclass(frozen=True)
class Tracked:
    """What one step gave.

    Attributes:
        logits: `[H, W] float32` tensor on the model's device; mask = logits > 0; -1024 where the object is absent.
        visible: `[] bool` tensor: SAM 2.1's object score > 0.
    """

    logits: Any
    visible: Any


@dataclass
class MemoryBank:
    """What one session carries, on the host.

    Attributes:
        conditioning: absolute indices of the prompted frames, in the order they were prompted.
        features: of the other frames whose spatial memory is kept, ascending.
        pointers: of the other frames whose object pointer is kept, ascending.
        dtypes: torch dtype names of the stacked tensors and of the positional encoding.
        tensors: `conditioning_features [c, 1, C, h, w]`, `conditioning_pointers [c, 1, D]`, `features`, `pointers`;
            bfloat16 as its uint16 bits.
        memory: what the policy carries; None: nothing.
    """

    conditioning: list[int]
    features: list[int]
    pointers: list[int]
    dtypes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    memory: dict[str, Json] | None = None

    def values(self) -> dict[str, Json]:
        """The JSON part."""
        memory = {} if self.memory is None else {"memory": self.memory}
        return {
            "conditioning": self.conditioning,
            "features": self.features,
            "pointers": self.pointers,
            "dtypes": self.dtypes,
            **memory,
        }


class ObjectSession:
    """The stock predictor's inference state of one object, pruned after every frame.

    Args:
        predictor: a `SAM2VideoPredictor`.
        size: height and width of the video in pixels.
        device: where the model works; its weights may lie on the CPU while a session is made.
        storage_device: where memories lie between frames.
        constants: shared by the sessions of one predictor (the memory's positional encoding).
        policy: of its memories; installed in the predictor.
    """

    def __init__(
        self,
        predictor: Any,
        size: tuple[int, int],
        device: str,
        storage_device: str,
        constants: dict[str, Any],
        policy: MemoryPolicy,
    ) -> None:
        import torch

        self._predictor = predictor
        self._policy = policy
        self._pointer_reach = int(predictor.max_obj_ptrs_in_encoder) - 1
        self._state: dict[str, Any] = {
            "images": {},
            "num_frames": LONG_CLIP_FRAMES,
            "offload_video_to_cpu": True,
            "offload_state_to_cpu": storage_device == "cpu",
            "video_height": size[0],
            "video_width": size[1],
            "device": torch.device(device),
            "storage_device": torch.device(storage_device),
            "point_inputs_per_obj": {},
            "mask_inputs_per_obj": {},
            "cached_features": {},
            "constants": constants,
            "obj_id_to_idx": {},
            "obj_idx_to_id": {},
            "obj_ids": [],
            "output_dict_per_obj": {},
            "temp_output_dict_per_obj": {},
            "frames_tracked_per_obj": {},
        }
        predictor._obj_id_to_idx(self._state, OBJECT_ID)

    @property
    def _outputs(self) -> tuple[dict[int, Any], dict[int, Any]]:
        outputs = self._state["output_dict_per_obj"][0]
        return outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]

    def step(
        self, frame: int, images: dict[int, Any], encoded: dict[int, Any], prompt: SamPrompt | None, num_frames: int
    ) -> Tracked:
        """Track one frame, as one turn of `SAM2VideoPredictor.propagate_in_video` does.

        Args:
            frame: absolute index.
            images: `{frame: [3, S, S] float32}`.
            encoded: image features by frame, shared by the sessions: filled by the first, read by the others.
            prompt: given to the object on this frame before it is tracked.
            num_frames: the clip's length where it is below 16, else `LONG_CLIP_FRAMES`.
        """
        predictor, state = self._predictor, self._state
        state["images"], state["cached_features"], state["num_frames"] = images, encoded, num_frames
        if prompt is not None:
            self._add_prompt(frame, prompt)
        conditioning, others = self._outputs
        if frame in conditioning:
            output = conditioning[frame]
            low_res_logits = output["pred_masks"].to(state["device"], non_blocking=True)
        else:
            output, low_res_logits = predictor._run_single_frame_inference(
                inference_state=state,
                output_dict=state["output_dict_per_obj"][0],
                frame_idx=frame,
                batch_size=1,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                reverse=False,
                run_mem_encoder=True,
            )
            others[frame] = output
        encoded.update(state["cached_features"])
        _, logits = predictor._get_orig_video_res_output(state, low_res_logits)
        visible = output["object_score_logits"].reshape(()) > 0
        if frame in others:
            self._remember(frame, low_res_logits, logits[0, 0])
        self._forget(frame)
        return Tracked(logits[0, 0], visible)

    def _add_prompt(self, frame: int, prompt: SamPrompt) -> None:
        predictor, state = self._predictor, self._state
        if prompt.mask is not None:
            predictor.add_new_mask(state, frame_idx=frame, obj_id=OBJECT_ID, mask=prompt.mask)
        elif prompt.points:
            points, labels = point_arrays(prompt.points)
            predictor.add_new_points_or_box(state, frame_idx=frame, obj_id=OBJECT_ID, points=points, labels=labels)
        else:
            box = np.array(prompt.box, dtype=np.float32)
            predictor.add_new_points_or_box(state, frame_idx=frame, obj_id=OBJECT_ID, box=box)
        predictor.propagate_in_video_preflight(state)
        # The prompt has become a conditioning output; its tensors (a mask is 4 MB at 1024 px) are not read again.
        state["point_inputs_per_obj"][0].clear()
        state["mask_inputs_per_obj"][0].clear()

    def _remember(self, frame: int, low_res_logits: Any, logits: Any) -> None:
        """Keep a frame that nobody prompted as its policy says."""
        predictor, others = self._predictor, self._outputs[1]

        def enlarged(found: Any) -> Any:
            return predictor._get_orig_video_res_output(self._state, found)[1]

        candidates = getattr(predictor, "last_candidates", None)
        role = self._policy.role(frame, Decoded(enlarged, low_res_logits, logits, candidates))
        if role is Role.FORGOTTEN:
            del others[frame]
        elif role is Role.CONDITIONING:
            # Its memory is made again as that of a prompted frame: of a binary mask.
            prompted = self._state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]
            prompted[frame] = {**others[frame], "maskmem_features": None, "maskmem_pos_enc": None}
            predictor.propagate_in_video_preflight(self._state)

    def _forget(self, frame: int) -> None:
        """Drop what no frame after `frame` reads."""
        conditioning, others = self._outputs
        first, kept = next(iter(conditioning)), self._policy.conditioning(list(conditioning))
        for index in [t for t in conditioning if t not in kept]:
            del conditioning[index]
        for output in (conditioning.get(frame), others.get(frame)):
            if output is not None:
                output.pop("pred_masks", None)
                output.pop("object_score_logits", None)
        remembered = [t for t, output in others.items() if output["maskmem_features"] is not None]
        read = self._policy.recent(frame, first, remembered)
        for index in [t for t in others if t not in read]:
            if index <= frame - self._pointer_reach:
                del others[index]
            else:
                others[index]["maskmem_features"] = others[index]["maskmem_pos_enc"] = None
        self._state["images"] = {}
        self._state["cached_features"] = {}

    def bank(self) -> MemoryBank:
        """A copy of the carried memory on the host. The caller has synchronised the device."""
        conditioning, others = self._outputs
        kept = sorted(t for t, output in others.items() if output["maskmem_features"] is not None)
        bank = MemoryBank(list(conditioning), kept, sorted(others), memory=self._policy.values())
        groups = {
            "conditioning_features": [output["maskmem_features"] for output in conditioning.values()],
            "conditioning_pointers": [output["obj_ptr"] for output in conditioning.values()],
            "features": [others[t]["maskmem_features"] for t in kept],
            "pointers": [others[t]["obj_ptr"] for t in bank.pointers],
        }
        for name, tensors in groups.items():
            if tensors:
                bank.tensors[name], bank.dtypes[name] = _to_numpy(tensors)
        positions = self._state["constants"].get("maskmem_pos_enc")
        if positions is not None:
            bank.dtypes["positions"] = str(positions[0].dtype).removeprefix("torch.")
        return bank

    def restore(self, bank: MemoryBank) -> None:
        """Take a bank back into a new session."""
        storage, device = self._state["storage_device"], self._state["device"]
        groups = {name: _to_torch(array, bank.dtypes[name]) for name, array in bank.tensors.items()}
        if bank.memory is not None:
            self._policy.restore(bank.memory)
        conditioning, others = self._outputs
        for position, index in enumerate(bank.conditioning):
            conditioning[index] = {
                "maskmem_features": groups["conditioning_features"][position].to(storage),
                "maskmem_pos_enc": self._positions(groups["conditioning_features"][position], bank.dtypes["positions"]),
                "obj_ptr": groups["conditioning_pointers"][position].to(device),
            }
        for position, index in enumerate(bank.pointers):
            others[index] = {
                "maskmem_features": None,
                "maskmem_pos_enc": None,
                "obj_ptr": groups["pointers"][position].to(device),
            }
        for position, index in enumerate(bank.features):
            features = groups["features"][position]
            others[index]["maskmem_features"] = features.to(storage)
            others[index]["maskmem_pos_enc"] = self._positions(features, bank.dtypes["positions"])

    def _positions(self, features: Any, dtype: str) -> list[Any]:
        """The memory's positional encoding, recomputed: it depends on the shape alone (`MemoryEncoder.forward`)."""
        import torch

        constants = self._state["constants"]
        if "maskmem_pos_enc" not in constants:
            positions = self._predictor.memory_encoder.position_encoding(features.to(self._state["device"]))
            constants["maskmem_pos_enc"] = [positions[0:1].to(getattr(torch, dtype)).clone()]
        shared: list[Any] = constants["maskmem_pos_enc"]
        return shared


def _to_numpy(tensors: list[Any]) -> tuple[Array, str]:
    """Stack tensors into one array of their bits, and name their dtype."""
    import torch

    stacked = torch.stack([tensor.detach().cpu() for tensor in tensors])
    name = str(stacked.dtype).removeprefix("torch.")
    array: Array = (stacked.view(torch.uint16) if stacked.dtype == torch.bfloat16 else stacked).numpy()
    return array, name


def _to_torch(array: Array, dtype: str) -> Any:
    """The inverse of `_to_numpy`; a copy."""
    import torch

    tensor = torch.from_numpy(np.array(array))
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def clip_frames_min16(inputs: Inputs) -> int:
    """`min(clip's length, 16)` as decode committed it; 16 where it did not."""
    return int(inputs.info.get("decode", {}).get("clip_frames_min16", 16))
