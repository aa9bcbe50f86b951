"""The table of weight files: names, addresses, sizes, sha256, licences.

Where the hashes come from (all read in public repositories, none measured here):

- SAM 2.1: `HASHES` in micro_sam/v2/util.py of computational-cell-analytics/micro-sam, which fetches Meta's addresses
  with `pooch` and these hashes. The same values stand in many other repositories.
- Archives of OpenMMLab: the sha256 that the rtmlib author's mirror publishes (huggingface.co/Tau-J/RTMPose at revision
  cd4d7095f5cfc9cfc4f46289bee91ea4a1e1d9fd); scripts/preload_rtmlib_models.py of Akhil-Ghosh/whodoirunlike pins the same
  for two of them.
- `end2end.onnx` inside: projects that pin it, named in `hash_source`. Where nobody does, the archive's hash is checked,
  and the member's is recorded at the first download (`<file>.sha256`) and checked from then on.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["sam", "pose", "detector", "server"]
KINDS: tuple[Kind, ...] = ("sam", "pose", "detector")
DEFAULTS: dict[Kind, str] = {"sam": "small", "pose": "dwpose-l-384", "detector": "yolox-m"}

META = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects/"
HUB = "https://huggingface.co/"
MICRO_SAM = "computational-cell-analytics/micro-sam: micro_sam/v2/util.py"
TAU_J = "huggingface.co/Tau-J/RTMPose at cd4d7095"
WHODOIRUNLIKE = "Akhil-Ghosh/whodoirunlike: scripts/preload_rtmlib_models.py"


@dataclass(frozen=True)
class Archive:
    """The zip that a file comes in. Only `member` (by its last path component) is taken out of it."""

    sha256: str | None
    size_bytes: int | None = None
    member: str = "end2end.onnx"


@dataclass(frozen=True)
class ModelFile:
    """One weight file.

    Attributes:
        name: what `--sam`, `--pose` and `--detector` take; unique within its kind.
        kind: "sam", "pose" or "detector"; "server": of a generator's server.
        file_name: its name in the models folder, or its path in the package (`packaged`) or below a server's `models`.
        url: where it, or the archive it comes in, is fetched from; None for a packaged file.
        size_bytes: length of the file itself; None where no source states it.
        sha256: of the file itself, lower-case hex; None = recorded at the first download.
        licence: SPDX name; `docs/models.md` says more.
        hash_source: the public source of `sha256` and `archive.sha256`.
        config: the model's complete YAML in the package (SAM only), relative to this package.
        input_size: (width, height) of the network's input, pixels.
        archive: set where `url` is a zip.
        packaged: whether the file ships in the package.
        mirror: another public folder that holds the file under the same name, for `--mirror`.
    """

    name: str
    kind: Kind
    file_name: str
    url: str | None
    size_bytes: int | None
    sha256: str | None
    licence: str
    hash_source: str
    config: str | None = None
    input_size: tuple[int, int] | None = None
    archive: Archive | None = None
    packaged: bool = False
    mirror: str | None = None


def _sam(name: str, file_name: str, size_bytes: int, sha256: str) -> ModelFile:
    return ModelFile(
        name=name,
        kind="sam",
        file_name=file_name,
        url=META + file_name,
        size_bytes=size_bytes,
        sha256=sha256,
        licence="Apache-2.0",
        hash_source=MICRO_SAM,
        config=f"sam/{name}.yaml",
        input_size=(1024, 1024),
        mirror=f"{HUB}facebook/sam2.1-hiera-{name}/resolve/main",
    )


def _onnx(
    kind: Kind,
    name: str,
    address: str,
    input_size: tuple[int, int],
    archive: Archive,
    sha256: str | None,
    size_bytes: int | None,
    hash_source: str,
) -> ModelFile:
    folder, _, zip_name = address.rpartition("/")
    return ModelFile(
        name=name,
        kind=kind,
        file_name=zip_name.removesuffix(".zip") + ".onnx",  # rtmlib's own cache uses the same name
        url=OPENMMLAB + address,
        size_bytes=size_bytes,
        sha256=sha256,
        licence="Apache-2.0",
        hash_source=hash_source,
        input_size=input_size,
        archive=archive,
        mirror=f"{HUB}Tau-J/RTMPose/resolve/main/{folder}",
    )


def _mini(kind: Kind, file_name: str, config: str | None = None, name: str = "mini") -> ModelFile:
    return ModelFile(
        name=name,
        kind=kind,
        file_name=file_name,
        url=None,
        size_bytes=None,
        sha256=None,
        licence="Apache-2.0",
        hash_source="built and trained by this project (training/)",
        config=config,
        packaged=True,
    )


MODELS: tuple[ModelFile, ...] = (
    _sam(
        "tiny",
        "sam2.1_hiera_tiny.pt",
        156_008_466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    _sam(
        "small",
        "sam2.1_hiera_small.pt",
        184_416_285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    _sam(
        "base-plus",
        "sam2.1_hiera_base_plus.pt",
        323_606_802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    _sam(
        "large",
        "sam2.1_hiera_large.pt",
        898_083_611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    _mini("sam", "mini/sam.safetensors", "mini/sam.yaml"),
    _mini("sam", "mini/groups.safetensors", "mini/sam.yaml", "mini-groups"),
    _onnx(
        "pose",
        "dwpose-l-384",
        "rtmposev1/onnx_sdk/rtmpose-l_simcc-ucoco_dw-ucoco_270e-384x288-2438fd99_20230728.zip",
        (288, 384),
        Archive("b06f1bc598ddbdb5008a61f4a411aa11ed331370b4f7f438126d6d99e168d147", 125_375_567),
        "8cfecfc2226d8e14b510c2fd28442226c518b4d60690535753187877411d4005",
        134_399_323,
        WHODOIRUNLIKE,
    ),
    _onnx(
        "pose",
        "dwpose-l-256",
        "rtmposev1/onnx_sdk/rtmpose-l_simcc-ucoco_dw-ucoco_270e-256x192-4d6dfc62_20230728.zip",
        (192, 256),
        Archive(None),
        "370c6d5777f4b496f718468ef718fe7d4d0f9acbeb7bc6757e0ba80dd692b2d1",
        133_879_122,
        "a project that installs this address's end2end.onnx and states its length and MODEL_SHA256",
    ),
    _onnx(
        "pose",
        "dwpose-m-256",
        "rtmposev1/onnx_sdk/rtmpose-m_simcc-ucoco_dw-ucoco_270e-256x192-c8b76419_20230728.zip",
        (192, 256),
        Archive("a4e4d56e9dc043e2171c73f5918f334509a47fde60182c1961370c7160334ac0"),
        None,
        None,
        TAU_J,
    ),
    _onnx(
        "pose",
        "rtmw-performance",
        "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122.zip",
        (288, 384),
        Archive("a87e1af41a0a067776dba7d46e1c21c8f6e9f18e247e0e606718dd1f31e96ffd", 213_433_855),
        "bd033156e5104c4f5d2edfe0453e02661e30a2f3da453ec93c8764d561b83054",
        229_320_930,
        "RTMW_ARCHIVE_SHA256 and RTMW_ONNX_SHA256 in an ExecuTorch export example (rtmw_export.py)",
    ),
    _onnx(
        "pose",
        "rtmw-balanced",
        "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122.zip",
        (192, 256),
        Archive("1e3e77558dfc199129bfff1c583e51b4ee190914de6ae30688243c20163c148c", 212_739_469),
        "9a9bc17c13ff0a1e37507f45a037a21bc410cd08374b0e664c57d0080843aa58",
        228_708_578,
        TAU_J,
    ),
    _onnx(
        "pose",
        "rtmw-lightweight",
        "rtmw/onnx_sdk/rtmw-dw-l-m_simcc-cocktail14_270e-256x192_20231122.zip",
        (192, 256),
        Archive("a6d08a575c9d8b8da7ce6c13e1c7341047fca35594a6d35de04b739eba51139c"),
        None,
        None,
        TAU_J,
    ),
    _mini("pose", "mini/pose.onnx"),
    _onnx(
        "detector",
        "yolox-m",
        "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
        (640, 640),
        Archive("a000224fd8ba283202bc62d4a5fcdfe353adb9f468777dbac1ea2ada2093adde", 94_223_081),
        "3dea6513388889f0fff4b77bf7a26013600321b9eb9ceb0e9a400a82572f5f23",
        101_400_344,
        WHODOIRUNLIKE,
    ),
    _onnx(
        "detector",
        "yolox-tiny",
        "rtmposev1/onnx_sdk/yolox_tiny_8xb8-300e_humanart-6f3252f9.zip",
        (416, 416),
        Archive("36e09ca555916253fa1b5d51bec01e48e98e1f0af966c51ce3e844d8c8fc4cfc"),
        "ceb11c07298f95c50d7c5abeb906d03340c85f23aa79e3e66966e7fb6c307250",
        None,
        TAU_J,
    ),
    _mini("detector", "mini/detector.onnx"),
)
