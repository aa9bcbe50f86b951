"""Reading a checkpoint and its config, with one clear line for everything that can be wrong with them.

Weights and configs belong to the environment: every error here is an `EnvironmentFault` (exit 4), whoever named it.
"""

from copy import deepcopy
from functools import cache, lru_cache
from io import StringIO
from pathlib import Path

# Only the exception is used: torch raises it for files that hold more than tensors. Nothing is unpickled here.
from pickle import UnpicklingError
from typing import Any

from storage.boundary import MB, read_regular
from storage.errors import EnvironmentFault

STOCK_CONFIG = Path(__file__).parents[1] / "models" / "sam" / "large.yaml"
_LARGER = 16  # times stock's largest: beyond it a config is no SAM 2 of any size
PREDICTOR = "sam2.sam2_video_predictor.SAM2VideoPredictor"
COMPILED_PREDICTOR = "sam2.sam2_video_predictor.SAM2VideoPredictorVOS"

# Every class that Meta's SAM 2 and 2.1 configs name. A config is data: `_target_` may not reach any other callable.
ALLOWED_TARGETS = frozenset(
    {
        PREDICTOR,
        COMPILED_PREDICTOR,
        "sam2.modeling.sam2_base.SAM2Base",
        "sam2.modeling.backbones.hieradet.Hiera",
        "sam2.modeling.backbones.image_encoder.FpnNeck",
        "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "sam2.modeling.memory_attention.MemoryAttention",
        "sam2.modeling.memory_attention.MemoryAttentionLayer",
        "sam2.modeling.memory_encoder.CXBlock",
        "sam2.modeling.memory_encoder.Fuser",
        "sam2.modeling.memory_encoder.MaskDownSampler",
        "sam2.modeling.memory_encoder.MemoryEncoder",
        "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "sam2.modeling.sam.transformer.Attention",
        "sam2.modeling.sam.transformer.RoPEAttention",
    }
)


def read_config(path: Path) -> dict[str, Any]:
    """The model's complete config as plain data, `model:` unwrapped where the file nests it as Meta's do.

    A config whose root is Meta's `SAM2Base` becomes the video predictor, as `build_sam2_video_predictor` does; nothing
    else is added to what the file says.

    Raises:
        EnvironmentFault: when the file is missing, is not YAML, is not a SAM 2 config, or names a class outside `sam2`.
    """
    if not path.is_file():
        raise EnvironmentFault(
            f"SAM config {path} does not exist: give --sam-config the YAML that belongs to the checkpoint"
        )
    try:
        content = read_regular(path, MB)
    except OSError as error:
        raise EnvironmentFault(f"SAM config {path} cannot be read: {one_line(error)}") from error
    return deepcopy(_parsed(path, content))


@lru_cache(maxsize=4)
def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    """The config in a file's bytes; a run asks for the same one several times, and its YAML takes 20 ms to read."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import AliasEvent, YAMLError
    from yaml import parse as yaml_events

    try:
        text = content.decode("utf-8")
        if "${" in text or any(isinstance(event, AliasEvent) for event in yaml_events(text)):
            raise EnvironmentFault(
                f"SAM config {path} names its own parts (*alias, ${{name}}), which may unfold to any size: "
                "write out what they stand for"
            )
        data = OmegaConf.to_container(OmegaConf.load(StringIO(text)))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, RecursionError) as error:
        raise EnvironmentFault(f"SAM config {path} is not readable YAML: {one_line(error)}") from error
    if isinstance(data, dict) and isinstance(data.get("model"), dict):
        data = data["model"]
    if not isinstance(data, dict) or "_target_" not in data or "image_encoder" not in data:
        raise EnvironmentFault(f"SAM config {path} holds no SAM 2 model: it needs _target_ and image_encoder")
    config: dict[str, Any] = {str(key): value for key, value in data.items()}
    for target in sorted(targets_in(config)):
        if target not in ALLOWED_TARGETS:
            raise EnvironmentFault(
                f"SAM config {path} names {target}: only the classes of SAM 2 may be built from a config"
            )
    _check_kinds(config, _stock(), path, "")
    if config["_target_"] == "sam2.modeling.sam2_base.SAM2Base":
        config["_target_"] = PREDICTOR
    if config["_target_"] not in (PREDICTOR, COMPILED_PREDICTOR):
        raise EnvironmentFault(f"SAM config {path} builds {config['_target_']}, not {PREDICTOR}")
    return config


@cache
def _stock() -> Any:
    """The largest of Meta's configs."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(STOCK_CONFIG), resolve=True)


def _check_kinds(node: Any, stock: Any, path: Path, at: str) -> None:
    """Refuse values of another kind than stock's, and numbers far beyond: the model's code looks at neither.

    What stock's config does not name is left to the classes that are built.
    """
    if isinstance(stock, dict) and isinstance(node, dict):
        for key in node.keys() & stock.keys():
            _check_kinds(node[key], stock[key], path, f"{at}.{key}" if at else str(key))
    elif isinstance(stock, list) and isinstance(node, list):
        if len(node) > _LARGER * max(1, len(stock)):
            raise EnvironmentFault(f"SAM config {path}: {at}: has {len(node)} entries, stock's has {len(stock)}")
        for index, value in enumerate(node):
            _check_kinds(
                value,
                stock[0] if stock and isinstance(stock[0], dict) else max(stock, default=1),
                path,
                f"{at}[{index}]",
            )
    elif isinstance(stock, (int, float)) and not isinstance(stock, bool):
        kinds = (int, float) if isinstance(stock, float) else (int,)
        right = isinstance(node, kinds) and not isinstance(node, bool)
        if not right or abs(node) > _LARGER * max(1, abs(stock)):
            raise EnvironmentFault(f"SAM config {path}: {at}: {str(node)[:60]} is no number like stock's {stock}")
    elif stock is None:
        if isinstance(node, (bool, str, list, dict)):
            raise EnvironmentFault(f"SAM config {path}: {at}: {str(node)[:60]} stands where stock has nothing")
    elif type(node) is not type(stock):
        raise EnvironmentFault(f"SAM config {path}: {at}: {str(node)[:60]} stands where stock has {str(stock)[:60]}")


def targets_in(node: Any) -> set[str]:
    """Every `_target_` in a nested config."""
    if isinstance(node, dict):
        own = {str(node["_target_"])} if "_target_" in node else set()
        return own.union(*(targets_in(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(targets_in(value) for value in node))
    return set()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of a `.safetensors` file, or of a torch file read with `weights_only=True`; on the CPU, by name.

    Raises:
        EnvironmentFault: when the file is missing, truncated, not a checkpoint, or holds code.
    """
    if not path.is_file():
        raise EnvironmentFault(
            f"SAM checkpoint {path} does not exist: fetch it with `skate models fetch` or give its path"
        )
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    import torch

    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise EnvironmentFault(f"SAM checkpoint {path} holds no state dict: a mapping of names to tensors is needed")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError, ValueError) as error:
        raise EnvironmentFault(f"SAM checkpoint {path} is damaged or truncated: {one_line(error)}") from error


def _read_torch(path: Path) -> dict[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # torch names what the file wanted to import; its text advises weights_only=False, which is not passed on.
        if "GLOBAL" in str(error):
            raise EnvironmentFault(
                f"SAM checkpoint {path} holds code or objects, not only tensors, and was not loaded: "
                "take the original file, or save the weights as safetensors"
            ) from error
        raise EnvironmentFault(
            f"SAM checkpoint {path} is damaged or not a checkpoint: fetch it again, or give another file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise EnvironmentFault(f"SAM checkpoint {path} is damaged or truncated: {one_line(error)}") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # as Meta's files wrap it
    return dict(content) if isinstance(content, dict) else {}


def load_strict(predictor: Any, tensors: dict[str, Any], checkpoint: Path, config: Path) -> None:
    """Put the tensors into the model, which must take every one of them and need no other.

    Raises:
        EnvironmentFault: saying how checkpoint and config disagree.
    """
    own = predictor.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    shapes = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if missing or unknown or shapes:
        first = (missing + unknown + shapes)[0]
        raise EnvironmentFault(
            f"SAM checkpoint {checkpoint} does not fit its config {config}: {len(missing)} tensors missing, "
            f"{len(unknown)} unknown, {len(shapes)} of another shape (first: {first}); "
            "give the --sam-config that it was made with"
        )
    predictor.load_state_dict(tensors, strict=True)


def one_line(error: BaseException, limit: int = 160) -> str:
    """The error's first line of text, cut to `limit` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]
