"""The model files that the recipes' graphs name: where they come from and where a ComfyUI wants them.

Sizes and sha256 are those that public repositories state which pin the same files; none was measured here. Nobody was
found who states the hashes of the two CausVid LoRAs, of VOID and of its VAE: theirs are recorded at the first download
(`<file>.sha256` beside the file) and checked from then on, and `skate models fetch` says so.
"""

from stages.models.table import HUB, ModelFile
from stages.recipes.registry import HELPERS, RECIPES, files_of
from storage.errors import UsageError

WAN_21 = HUB + "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/"
WAN_22 = HUB + "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/"
KIJAI = HUB + "Kijai/WanVideo_comfy/resolve/main/"
VOID = HUB + "Comfy-Org/void-model/resolve/main/"
APACHE = "Apache-2.0"
SOURCES = "public repositories that pin the same file"


def _file(
    folder: str, url: str, size: int | None = None, sha256: str | None = None, licence: str = APACHE
) -> tuple[str, ModelFile]:
    name = url.rpartition("/")[2]
    return name, ModelFile(name, "server", f"{folder}/{name}", url, size, sha256, licence, SOURCES if sha256 else "")


SERVER_FILES = dict(
    [
        _file(
            "diffusion_models",
            WAN_21 + "diffusion_models/wan2.1_vace_1.3B_fp16.safetensors",
            4_309_519_800,
            "640ccc0577e6a5d4bb15cd91b11b699ef914fc55f126c5a1c544e152130784f2",
        ),
        _file(
            "diffusion_models",
            WAN_21 + "diffusion_models/wan2.1_vace_14B_fp16.safetensors",
            34_675_323_640,
            "f202a5c59b8a91ada1862c46a038214f1f7f216c61ec8350d25f69b919da4307",
        ),
        _file(
            "diffusion_models",
            WAN_22 + "diffusion_models/wan2.2_fun_vace_high_noise_14B_fp8_scaled.safetensors",
            17_346_056_104,
            "23130f30207f6c8697a5bead113ddc9904cfbb5e8fa51a550df3cee4d21fb54c",
        ),
        _file(
            "diffusion_models",
            WAN_22 + "diffusion_models/wan2.2_fun_vace_low_noise_14B_fp8_scaled.safetensors",
            17_346_056_104,
            "ca55a5cc543e28576edbd2079f8c1de05f71cd9e85bf96fab635f55663dbcb69",
        ),
        _file(
            "diffusion_models",
            HUB + "samuelchristlie/Wan2.1-VACE-1.3B-GGUF/resolve/main/Wan2.1-VACE-1.3B-Q8_0.gguf",
            2_317_975_232,
            "bbde4d08c4eeaaf8eaa68731878788b6ff0117cc22b3c3b489c1860b49c560a1",
        ),
        _file(
            "diffusion_models",
            HUB + "Kijai/WanVideo_comfy_fp8_scaled/resolve/main/Wan22Animate/"
            "Wan2_2-Animate-14B_fp8_scaled_e4m3fn_KJ_v2.safetensors",
            17_317_143_060,
            "b1cd5a67e968e5bb38fcf84dab58f2fb551e0889fd463acb2a657259a70bbbf6",
        ),
        _file(
            "diffusion_models",
            HUB + "Comfy-Org/SCAIL-2/resolve/main/diffusion_models/wan2.1_14B_SCAIL_2_fp8_scaled.safetensors",
            17_694_586_857,
            "11513b4697ecf566de0cb74660c478f301fb6699a62b10369e91a6ed0fd6b083",
        ),
        _file(
            "text_encoders",
            WAN_21 + "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
            6_735_906_897,
            "c3355d30191f1f066b26d93fba017ae9809dce6c627dda5f6a66eaa651204f68",
        ),
        _file(
            "text_encoders",
            KIJAI + "umt5-xxl-enc-bf16.safetensors",
            11_361_845_464,
            "4fa971faf306cad919033d5bbe192e571dc08452f800cbf2ec3c73977c01b2cc",
        ),
        _file(
            "text_encoders",
            HUB + "comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp8_e4m3fn.safetensors",
            4_893_934_904,
            "7d330da4816157540d6bb7838bf63a0f02f573fc48ca4d8de34bb0cbfd514f09",
        ),
        _file(
            "text_encoders",
            HUB + "comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",
            9_787_841_024,
            "6e480b09fae049a72d2a8c5fbccb8d3e92febeb233bbe9dfe7256958a9167635",
        ),
        _file("diffusion_models", VOID + "diffusion_models/void_pass1.safetensors"),
        _file("vae", VOID + "vae/cogvideox_vae.safetensors"),
        _file(
            "vae",
            WAN_21 + "vae/wan_2.1_vae.safetensors",
            253_815_318,
            "2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b",
        ),
        _file(
            "vae",
            KIJAI + "Wan2_1_VAE_bf16.safetensors",
            253_806_278,
            "1ab9a32cc2c740f6e39d80d367ce5dcc28db8c71b79b28670546b8973e9d75f9",
        ),
        _file(
            "clip_vision",
            WAN_21 + "clip_vision/clip_vision_h.safetensors",
            1_264_219_396,
            "64a7ef761bfccbadbaa3da77366aac4185a6c58fa5de5f589b42a65bcc21f161",
        ),
        _file(
            "loras",
            KIJAI + "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors",
            91_233_416,
            licence="CC-BY-NC-4.0",
        ),
        _file("loras", KIJAI + "Wan21_CausVid_14B_T2V_lora_rank32_v2.safetensors", licence="CC-BY-NC-4.0"),
        _file(
            "loras",
            WAN_22 + "loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
            1_226_977_424,
            "698321cb86bd30c4af06c9b84e656a1048c8cb54e06d50694536fb5de37fde41",
        ),
        _file(
            "loras",
            WAN_22 + "loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
            1_226_977_424,
            "ec95216e614b3c132c11bfb387b11feedf62163150ccc9068bca8a189771e75a",
        ),
        _file(
            "loras",
            KIJAI + "Lightx2v/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
            738_005_744,
            "85c4a61c30e0497aa44b91d93a893b624708461a56fe5485183b28fa07e2dfb3",
        ),
        _file(
            "loras",
            HUB + "Comfy-Org/SCAIL-2/resolve/main/loras/wan2.1_SCAIL_2_DPO_lora_bf16.safetensors",
            1_226_936_552,
            "b106522036f64e50f5f8ae3b808973515ff442cc2fac27b65d875eafb95b89e2",
        ),
        _file(
            "checkpoints",
            HUB + "Comfy-Org/sam3.1/resolve/main/checkpoints/sam3.1_multiplex_fp16.safetensors",
            1_745_546_848,
            "9ba99c92703c2e8b4f47de2d34a539bb8e18923049e238b780d70dbe6368eb03",
            "SAM License",
        ),
    ]
)
"""By the name that graphs use; `file_name` is below ComfyUI's `models`."""


def server_files(recipe: str, profiles: tuple[str, ...] = ()) -> list[ModelFile]:
    """What a recipe or a helper needs on a server, with the LoRAs of these profiles.

    Raises:
        UsageError: no recipe has that name.
    """
    known = (*RECIPES, *HELPERS)
    if recipe not in known:
        raise UsageError(f"--for {recipe}: no recipe has that name: known are {', '.join(known)}")
    return [SERVER_FILES[name] for name in files_of(recipe, profiles)]
