"""Write the shipped pair: the averaged weights of checkpoints in half precision and the complete YAML beside them.

    python -m training.mini_sam.export --checkpoint DIR/checkpoint.safetensors --size 256 [--to DIR]
    python -m training.mini_sam.export --checkpoint LATE EARLY --shares 0.7 0.3 --presence-shift 3.5

The second form takes the weighted mean of several stages of one run of stages, and asks for more before an object
counts as present: one wrong report in an absence goes into the memory and leads to the next.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.mini_sam.checkpoint import average_weights
from training.mini_sam.config import IMAGE_SIZE, write_yaml
from training.mini_sam.predict import SHIPPED

Weights = dict[str, torch.Tensor]
PRESENCE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


def mean_weights(checkpoints: Sequence[Path], shares: Sequence[float], presence_shift: float) -> Weights:
    """The mean of the averaged weights, float32, weighted by `shares`; object scores are lower by `presence_shift`."""
    parts, total = [average_weights(path) for path in checkpoints], sum(shares)
    weights = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in parts[0].items()}
    for part, share in zip(parts, shares, strict=True):
        for name, value in part.items():
            weights[name] += share / total * value.float()
    weights[PRESENCE_BIAS] -= presence_shift
    return weights


def export(weights: Weights, folder: Path, image_size: int) -> None:
    """Write `sam.safetensors` (float16) and `sam.yaml` into `folder`."""
    halves = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halves, folder / "sam.safetensors")
    (folder / "sam.safetensors").chmod(0o644)  # safetensors writes files that only their owner reads
    write_yaml(folder / "sam.yaml", image_size)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    parser.add_argument("--shares", type=float, nargs="+", help="of the checkpoints in the mean; default: equal")
    parser.add_argument("--presence-shift", type=float, default=0.0, help="logits that an object must score more")
    parser.add_argument("--size", type=int, default=IMAGE_SIZE, help="input size in px that the YAML states")
    parser.add_argument("--to", type=Path, default=SHIPPED)
    options = parser.parse_args()
    shares = options.shares or [1.0] * len(options.checkpoint)
    if len(shares) != len(options.checkpoint) or min(shares) < 0 or sum(shares) <= 0:
        parser.error("--shares: give one share, 0 or more, for every --checkpoint")
    export(mean_weights(options.checkpoint, shares, options.presence_shift), options.to, options.size)


if __name__ == "__main__":
    main()
