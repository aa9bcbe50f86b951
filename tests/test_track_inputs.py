"""What is refused, with one line and the right exit code, and what scene cuts do."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from _sam_fixture import SMALL_YAML, moving_clip, plain_track, small_settings, stock_logits, write_small_sam
from omegaconf import OmegaConf

from stages.base import Inputs, Output, Window
from stages.prompts import Correction, ObjectPrompt
from stages.sam.checkpoint import read_config
from stages.sam.frames import prepare_image
from stages.sam.model import SamConfig, SamModel
from stages.sam.prompts import SamPrompt
from stages.track import TrackConfig, TrackStage
from storage.errors import EnvironmentFault, InputError, SkateError, UsageError
from storage.spans import Span

BOX = (38.0, 30.0, 58.0, 42.0)
OTHER_BOX = (14.0, 26.0, 34.0, 46.0)


@pytest.fixture(scope="module")
def sam_config(tmp_path_factory: pytest.TempPathFactory) -> SamConfig:
    return write_small_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def model(sam_config: SamConfig) -> SamModel:
    handle = SamModel(sam_config)
    handle.load()
    return handle


def refused(kind: type[SkateError], text: str, model: SamModel, config: TrackConfig, frames: int = 4) -> None:
    stage = TrackStage(config, model)
    stage.open()
    span = Span(0, frames)
    with pytest.raises(kind, match=text) as caught:
        stage.process(Window(0, span, span, span, True, frames), Inputs({"frames": moving_clip(frames)}))
    assert "\n" not in str(caught.value)
    stage.close()


@pytest.mark.parametrize("box", [(-1, 0, 10, 10), (0, 0, 97, 10), (0, 0, 10, 73), (90, 60, 100, 70)])
def test_boxes_outside_the_frame(model: SamModel, box: tuple[float, float, float, float]) -> None:
    refused(InputError, "--box .* reaches outside the 96x72 frame", model, plain_track(ObjectPrompt(box=box)))
    prompt = ObjectPrompt(box=BOX)
    refused(InputError, "--correct 2: .* reaches outside", model, plain_track(prompt, (Correction(2, box),)))
    refused(InputError, "--person-box .* reaches outside", model, plain_track(prompt, person_box=box))


@pytest.mark.parametrize("box", [(20, 5, 10, 15), (5, 20, 15, 10), (5, 5, 5, 15), (5, 5, 15, 5)])
def test_inverted_and_empty_boxes(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(UsageError, match=r"--box .* empty or inverted"):
        ObjectPrompt(box=box)
    with pytest.raises(UsageError, match=r"--correct 3: .* empty or inverted"):
        plain_track(ObjectPrompt(box=BOX), (Correction(3, box),))
    with pytest.raises(UsageError, match=r"--person-box .* empty or inverted"):
        plain_track(ObjectPrompt(box=BOX), person_box=box)


def test_points_that_cannot_be(model: SamModel) -> None:
    with pytest.raises(UsageError, match="labels are 1"):
        plain_track(ObjectPrompt(points=((1.0, 2.0, 2),)))
    with pytest.raises(UsageError, match="at least one point"):
        plain_track(ObjectPrompt(points=((1.0, 2.0, 0),)))
    config = plain_track(ObjectPrompt(points=((5.0, 5.0, 1), (100.0, 5.0, 1))))
    refused(InputError, "--point 100,5 lies outside the 96x72", model, config)


def test_masks_that_cannot_be(model: SamModel, tmp_path: Path) -> None:
    def config(path: Path, digest: str | None = None) -> TrackConfig:
        return plain_track(ObjectPrompt(mask_png=str(path), mask_digest=digest))

    refused(InputError, "cannot be read", model, config(tmp_path / "missing.png"))
    (tmp_path / "text.png").write_text("no picture")
    refused(InputError, "give an 8-bit PNG", model, config(tmp_path / "text.png"))
    (tmp_path / "nothing.png").write_bytes(b"")
    refused(InputError, "give an 8-bit PNG", model, config(tmp_path / "nothing.png"))
    cv2.imwrite(str(tmp_path / "size.png"), np.full((72, 90), 255, np.uint8))
    refused(InputError, "is 90x72: give a mask of the upright frame's", model, config(tmp_path / "size.png"))
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((72, 96), 127, np.uint8))
    refused(InputError, "is empty", model, config(tmp_path / "empty.png"))
    refused(InputError, "has sha256", model, config(tmp_path / "size.png", "0" * 64))


def test_prompts_past_the_end(model: SamModel) -> None:
    refused(InputError, "--prompt-frame 4 is past the end: the clip has 4", model, plain_track(ObjectPrompt(4, BOX)))
    config = plain_track(ObjectPrompt(0, BOX), (Correction(9, BOX),))
    refused(InputError, "--correct 9 is past the end: the clip has 4", model, config)


def test_corrections_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="before the prompt frame 5"):
        plain_track(ObjectPrompt(5, BOX), (Correction(4, BOX),))
    with pytest.raises(UsageError, match="already has a prompt"):
        plain_track(ObjectPrompt(5, BOX), (Correction(5, BOX),))
    with pytest.raises(UsageError, match="already has a prompt"):
        plain_track(ObjectPrompt(5, BOX), (Correction(7, BOX), Correction(7, OTHER_BOX)))
    with pytest.raises(UsageError, match="--on-cut pause"):
        plain_track(ObjectPrompt(5, BOX), on_cut="pause")


def load_fails(config: SamConfig, text: str) -> None:
    with pytest.raises(EnvironmentFault, match=text) as caught:
        SamModel(config).load()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_checkpoints_that_cannot_be(sam_config: SamConfig, model: SamModel, tmp_path: Path) -> None:
    def config(path: Path, **more: Any) -> SamConfig:
        return SamConfig(path, sam_config.config_yaml, **more)

    good = sam_config.checkpoint.read_bytes()
    load_fails(config(tmp_path / "none.safetensors"), "none.safetensors does not exist")
    (tmp_path / "cut.safetensors").write_bytes(good[: len(good) // 2])
    load_fails(config(tmp_path / "cut.safetensors"), "cut.safetensors is damaged or truncated")

    tensors = model.predictor.state_dict()
    whole = tmp_path / "whole.pt"
    torch.save({"model": tensors}, whole)
    loaded = SamModel(config(whole))
    loaded.load()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in loaded.predictor.state_dict().items())
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:-5000])
    load_fails(config(tmp_path / "cut.pt"), "cut.pt is damaged or truncated")
    (tmp_path / "text.pt").write_text("not a checkpoint at all")
    load_fails(config(tmp_path / "text.pt"), "text.pt is damaged or not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    load_fails(config(tmp_path / "empty.pt"), "empty.pt is damaged or truncated")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    load_fails(config(tmp_path / "other.pt"), "holds no state dict")


def test_a_pickle_with_code_is_not_run(sam_config: SamConfig, tmp_path: Path) -> None:
    target = tmp_path / "was_run"
    # A torch file whose data.pkl calls os.system: protocol 2 opcodes, written by hand.
    code = (
        b"\x80\x02cos\nsystem\nX"
        + len(f"touch {target}").to_bytes(4, "little")
        + f"touch {target}".encode()
        + b"\x85R."
    )
    path = tmp_path / "code.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("code/data.pkl", code)
        archive.writestr("code/version", b"3\n")
    load_fails(SamConfig(path, sam_config.config_yaml), "code.pt holds code or objects")
    (tmp_path / "legacy.pt").write_bytes(code)
    load_fails(SamConfig(tmp_path / "legacy.pt", sam_config.config_yaml), "legacy.pt holds code or objects")
    assert not target.exists()


def test_configs_that_cannot_be(sam_config: SamConfig, tmp_path: Path) -> None:
    def config(text: str, name: str = "sam.yaml") -> SamConfig:
        (tmp_path / name).write_text(text)
        return SamConfig(sam_config.checkpoint, tmp_path / name)

    load_fails(SamConfig(sam_config.checkpoint, tmp_path / "none.yaml"), "none.yaml does not exist")
    load_fails(config("a: [1"), "is not readable YAML")
    load_fails(config("just: text"), "holds no SAM 2 model")
    settings = small_settings()
    settings["image_encoder"]["trunk"]["_target_"] = "sam2.build_sam.os.system"
    load_fails(config(OmegaConf.to_yaml(settings)), "names sam2.build_sam.os.system")
    bomb = "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    load_fails(config(bomb), "may unfold to any size")
    load_fails(config("a: xx\n" + "".join(f"b{n}: ${{a}}${{a}}\n" for n in range(9))), "may unfold to any size")
    settings = small_settings()
    settings["image_encoder"]["neck"]["d_model"] = 48
    load_fails(config(OmegaConf.to_yaml(settings)), "does not fit its config")
    settings = small_settings()
    settings["image_encoder"]["trunk"]["unheard_of"] = 1
    load_fails(config(OmegaConf.to_yaml(settings)), "cannot be built")
    settings = small_settings() | {"max_obj_ptrs_in_encoder": 32}
    load_fails(config(OmegaConf.to_yaml(settings)), "32 object pointers")
    settings = small_settings() | {"non_overlap_masks": True}
    load_fails(config(OmegaConf.to_yaml(settings)), "non_overlap_masks")
    load_fails(SamConfig(sam_config.checkpoint, SMALL_YAML), "does not fit its config")
    settings = small_settings()
    settings["image_encoder"]["trunk"]["stages"] = [1, 1, 10**9, 1]
    load_fails(config(OmegaConf.to_yaml(settings)), "trunk.stages.2.: 1000000000 is no number like stock's")
    settings = small_settings() | {"memory_attention": {"pos_enc_at_input": {}}}
    load_fails(config(OmegaConf.to_yaml(settings)), "pos_enc_at_input: .* stands where stock has True")


def test_a_config_nested_as_metas_own_are(sam_config: SamConfig, tmp_path: Path) -> None:
    nested = {"model": small_settings() | {"_target_": "sam2.modeling.sam2_base.SAM2Base"}}
    path = tmp_path / "nested.yaml"
    path.write_text("# @package _global_\n" + OmegaConf.to_yaml(nested))
    handle = SamModel(SamConfig(sam_config.checkpoint, path))
    handle.load()
    assert type(handle.predictor).__name__ == "SAM2VideoPredictor"
    handle.close()
    handle.close()
    with pytest.raises(RuntimeError, match="load"):
        _ = handle.predictor


@pytest.mark.parametrize("name", ["tiny", "small", "base-plus", "large"])
def test_shipped_configs_are_metas_with_the_post_processing_written_in(name: str) -> None:
    import sam2

    letter = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[name]
    source = Path(str(sam2.__file__)).parent / "configs" / "sam2.1" / f"sam2.1_hiera_{letter}.yaml"
    expected: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(source))["model"]  # type: ignore[call-overload, index, assignment]
    expected |= {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
        "binarize_mask_from_pts_for_mem_enc": True,
        "fill_hole_area": 0,
    }
    assert read_config(SMALL_YAML.with_name(f"{name}.yaml")) == expected


def test_devices() -> None:
    with pytest.raises(UsageError, match="--device tpu"):
        SamConfig(Path("a"), Path("b"), device="tpu")
    with pytest.raises(UsageError, match="--state-device cuda needs"):
        SamConfig(Path("a"), Path("b"), state_device="cuda")
    if not torch.cuda.is_available():
        load_fails(SamConfig(Path("a"), Path("b"), device="cuda"), "no usable NVIDIA GPU")


def test_preprocessing_is_stocks(tmp_path: Path) -> None:
    from sam2.utils.misc import load_video_frames_from_jpg_images

    frames = moving_clip(2, 50, 70)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), frame[..., ::-1])
    images, height, width = load_video_frames_from_jpg_images(
        str(tmp_path), 128, offload_video_to_cpu=True, compute_device=torch.device("cpu")
    )
    assert (height, width) == (50, 70)
    from PIL import Image

    for index in range(2):
        decoded = np.array(Image.open(tmp_path / f"{index}.jpg").convert("RGB"))
        prepared = prepare_image(decoded, 128)
        assert prepared.is_contiguous()
        assert torch.equal(prepared, images[index])


def cut_clip() -> np.ndarray[Any, Any]:
    """24 frames with a hard cut at frame 11."""
    clip = moving_clip(24)
    clip[11:] = 255 - clip[11:, :, ::-1]
    return clip


def run_cut(model: SamModel, config: TrackConfig, person_frames: dict[int, int]) -> list[Output]:
    """Windows of 6 frames, restored in between; pose names a person in the given windows, on the given frames."""
    clip, outputs, parts = cut_clip(), [], None
    for index in range(4):
        stage = TrackStage(config, model)
        stage.open()
        if parts is not None:
            stage.set_state(*parts)
        span = Span(6 * index, 6 * index + 6)
        info: dict[str, Any] = {"decode": {"cuts": [11] if index == 1 else []}}
        if index in person_frames:
            info["pose"] = {"person": {"frame": person_frames[index], "box": list(OTHER_BOX)}}
        outputs.append(
            stage.process(
                Window(index, span, span, span, index == 3, 6), Inputs({"frames": clip[span.start : span.stop]}, info)
            )
        )
        parts = stage.get_state().to_parts()
        stage.close()
    return outputs


def test_on_cut_ignore_tracks_on(model: SamModel) -> None:
    outputs = run_cut(model, plain_track(ObjectPrompt(box=BOX)), {0: 1})
    assert all(output.info["stop"] is None for output in outputs)
    assert outputs[3].info["untracked"] == {"object": [], "person": []}


def test_on_cut_reset_waits_for_a_correction_and_a_new_person(model: SamModel) -> None:
    config = plain_track(ObjectPrompt(box=BOX), (Correction(15, OTHER_BOX),), on_cut="reset")
    outputs = run_cut(model, config, {0: 1, 1: 7, 3: 20})
    assert outputs[1].info["untracked"] == {"object": [[11, 12]], "person": [[11, 12]]}
    assert outputs[2].info["untracked"] == {"object": [[12, 15]], "person": [[12, 18]]}
    assert outputs[3].info["untracked"] == {"object": [], "person": [[18, 20]]}
    # From the correction on, the object is followed as if it had never been seen before.
    expected, _ = stock_logits(model.predictor, cut_clip(), {15: SamPrompt(box=OTHER_BOX)})
    masks = np.concatenate([output.arrays["masks/object"] for output in outputs])
    assert all(np.array_equal(masks[t], (expected[t] > 0).numpy()) for t in range(15, 24))
    assert not masks[11:15].any()


def test_on_cut_reset_follows_the_person_chosen_again_in_the_same_window(model: SamModel) -> None:
    config = plain_track(ObjectPrompt(box=BOX), on_cut="reset")
    with TrackStage(config, model) as stage:
        frames = cut_clip()
        span = Span(0, len(frames))
        again = [{"frame": 14, "box": list(OTHER_BOX)}]
        pose = {"person": {"frame": 1, "box": list(OTHER_BOX)}, "again": again}
        info: dict[str, Any] = {"decode": {"cuts": [11]}, "pose": pose}
        output = stage.process(Window(0, span, span, span, True, 25), Inputs({"frames": frames}, info))
    assert output.info["untracked"]["person"] == [[0, 1], [11, 14]]
    expected, _ = stock_logits(model.predictor, frames, {14: SamPrompt(box=OTHER_BOX)})
    assert all(np.array_equal(output.arrays["masks/person"][t], (expected[t] > 0).numpy()) for t in range(14, 24))


def test_on_cut_reset_applies_a_prompt_of_the_cut_frame_after_it(model: SamModel) -> None:
    config = plain_track(ObjectPrompt(box=BOX), (Correction(11, OTHER_BOX),), on_cut="reset")
    outputs = run_cut(model, config, {0: 1})
    assert [output.info["untracked"]["object"] for output in outputs] == [[], [], [], []]


def test_on_cut_stop_ends_tracking_for_good(model: SamModel) -> None:
    config = plain_track(ObjectPrompt(box=BOX), (Correction(15, OTHER_BOX),), on_cut="stop")
    outputs = run_cut(model, config, {0: 1, 2: 14})
    assert [output.info["stop"] for output in outputs] == [None, 11, 11, 11]
    masks = np.concatenate([output.arrays["masks/object"] | output.arrays["masks/person"] for output in outputs])
    assert not masks[11:].any()
    assert outputs[3].info["untracked"] == {"object": [[18, 24]], "person": [[18, 24]]}


def test_state_bytes_of_hiera_small(model: SamModel) -> None:
    from stages.sam.footprint import object_state_bytes

    small = read_config(SMALL_YAML)
    assert object_state_bytes(small, 1) <= 4_000_000
    assert object_state_bytes(small, 2) - object_state_bytes(small, 1) <= 600_000
    # The same arithmetic gives what is really carried, on the small random model.
    clip = moving_clip(20)
    stage = TrackStage(plain_track(ObjectPrompt(box=BOX), (Correction(2, OTHER_BOX),)), model)
    stage.open()
    span = Span(0, 20)
    stage.process(Window(0, span, span, span, False, 20), Inputs({"frames": clip}))
    tensors = stage.get_state().tensors
    assert sum(array.nbytes for array in tensors.values()) == object_state_bytes(small_settings(), 2)


def test_the_projection_needs_no_model(sam_config: SamConfig, tmp_path: Path) -> None:
    shutil.copy(sam_config.checkpoint, tmp_path / "sam.safetensors")
    stage = TrackStage(plain_track(ObjectPrompt(box=BOX)), SamModel(sam_config))
    ram, vram = stage.peak_bytes(360, 640, 81)
    assert vram == 0
    assert ram > stage.peak_bytes(360, 640, 21)[0]
