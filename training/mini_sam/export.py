"""Write the shipped pair: the averaged weights of a checkpoint in half precision and the complete YAML beside them.

python -m training.mini_sam.export --checkpoint DIR/checkpoint.safetensors --size 256 [--to DIR]
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.mini_sam.checkpoint import average_weights
from training.mini_sam.config import IMAGE_SIZE, write_yaml
from training.mini_sam.predict import SHIPPED


def export(checkpoint: Path, folder: Path, image_size: int) -> None:
    """Write `sam.safetensors` (float16) and `sam.yaml` into `folder`."""
    weights = {name: value.to(torch.float16).contiguous() for name, value in average_weights(checkpoint).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "sam.safetensors")
    (folder / "sam.safetensors").chmod(0o644)  # safetensors writes files that only their owner reads
    write_yaml(folder / "sam.yaml", image_size)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--size", type=int, default=IMAGE_SIZE, help="input size in px that the YAML states")
    parser.add_argument("--to", type=Path, default=SHIPPED)
    options = parser.parse_args()
    export(options.checkpoint, options.to, options.size)


if __name__ == "__main__":
    main()
