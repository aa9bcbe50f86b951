"""Train the small SAM 2.1, one stage at a time.

    python -m training.mini_sam.train --out DIR --size 256 --frames 7 --minutes 60 --init WEIGHTS --cache DIR

A stage runs for `--minutes` of training, writes `DIR/checkpoint.safetensors` every few minutes (usable at any moment:
`python -m training.mini_sam.export`) and a line of measures to `DIR/log.jsonl`; `--resume` continues it.
"""

import argparse
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.multiprocessing.spawn import spawn

from training.mini_sam.checkpoint import Average, Progress, average_weights, load, save
from training.mini_sam.config import IMAGE_SIZE, base_settings, build
from training.mini_sam.rollout import SECOND_WEIGHT, RawDecoder, Rollout, roll
from training.mini_sam.sequences import SequenceConfig, Sequences

LOG_EVERY = 25  # steps


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, help="folder of the stage: checkpoint and log")
    parser.add_argument("--size", type=int, default=IMAGE_SIZE, help="input size in px, a multiple of 32")
    parser.add_argument("--whole", type=int, help="px a whole picture is scaled to before a crop of --size is taken")
    parser.add_argument("--frames", type=int, default=7, help="frames of a sequence, the prompted one included")
    parser.add_argument("--batch", type=int, default=4, help="clips a step and process; each has up to two targets")
    parser.add_argument("--minutes", type=float, required=True, help="training time of the stage")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--final-lr", type=float, default=0.05, help="share of it left at the end of the cosine")
    parser.add_argument("--warm-up", type=int, default=40, help="steps until the learning rate is reached")
    parser.add_argument("--init", type=Path, help="weights or checkpoint to start from (safetensors)")
    parser.add_argument("--cache", type=Path, help="folder of rendered demo clips (training.mini_sam.demo_clips)")
    parser.add_argument("--demo-share", type=float, default=0.55, help="share of sequences cut from the cache")
    parser.add_argument("--chases", type=Path, help="folder of clips of groups (training.mini_sam.chase_clips)")
    parser.add_argument("--chase-share", type=float, default=0.8, help="share of sequences cut from these")
    parser.add_argument("--second-share", type=float, default=1.0, help="share of second targets (persons) trained on")
    parser.add_argument("--second-weight", type=float, default=SECOND_WEIGHT, help="of their masks in the loss")
    parser.add_argument("--even-edges", action="store_true", help="a pixel too much costs as much as one too few")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="data-parallel processes of one thread each")
    parser.add_argument("--bfloat16", action="store_true", help="autocast the forward pass")
    parser.add_argument("--decay", type=float, default=0.997, help="decay of the running average of the weights")
    parser.add_argument("--save-minutes", type=float, default=3.0, help="minutes between checkpoints")
    parser.add_argument("--resume", action="store_true", help="continue the stage in --out")
    return parser


def learning_rate(progress: Progress, options: argparse.Namespace) -> float:
    """`--warm-up` steps, then half a cosine over the stage's minutes."""
    done = min(1.0, progress.seconds / (60 * options.minutes))
    cosine = options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
    return float(options.lr * cosine * min(1.0, (progress.step + 1) / options.warm_up))


def _batches(options: argparse.Namespace, resumed: int, rank: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    whole = options.whole or options.size
    chases = options.chases, options.chase_share
    config = SequenceConfig(options.frames, options.size, whole, options.cache, options.demo_share, *chases)
    data = Sequences(config, seed=(options.seed, resumed, rank))
    return iter(torch.utils.data.DataLoader(data, options.batch))


def measures(history: list[Rollout]) -> dict[str, float]:
    """Means over the last steps: loss, IoU of prompted and tracked frames, presence recall and false alarms."""
    first = [rollout.frames[0] for rollout in history]
    tracked = [frame for rollout in history for frame in rollout.frames[1:]]

    def mean(values: list[torch.Tensor]) -> float:
        joined = torch.cat(values).float()
        return round(float(joined.mean()), 4) if len(joined) else math.nan

    return {
        "loss": round(float(torch.stack([rollout.loss for rollout in history]).mean()), 4),
        "iou_prompted": mean([frame.iou[frame.present] for frame in first]),
        "iou_tracked": mean([frame.iou[frame.present] for frame in tracked]),
        "recall": mean([frame.score_right[frame.present] for frame in tracked]),
        "false_alarms": mean([~frame.score_right[frame.absent] for frame in tracked]),
    }


def _say(options: argparse.Namespace, progress: Progress, history: list[Rollout], rate: float) -> None:
    line = {"step": progress.step, "seconds": round(progress.seconds), "lr": round(rate, 6), **measures(history)}
    print(json.dumps(line), flush=True)
    with (options.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


def average_gradients(model: Any, seconds: float, processes: int) -> float:
    """Average the gradients over the processes; returns the first process's `seconds`, so that all stop together."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([grad.flatten() for grad in grads] + [torch.tensor([seconds * processes])]) / processes
    torch.distributed.all_reduce(flat)
    for parameter, grad in zip(parameters, torch.split(flat[:-1], [p.numel() for p in parameters]), strict=True):
        parameter.grad = grad.view_as(parameter)
    return float(flat[-1])


def _step(model: Any, optimiser: torch.optim.Optimizer, rollout: Rollout | None) -> None:
    """Gradients of one batch; a batch without a target gives none."""
    optimiser.zero_grad()
    if rollout is not None:
        rollout.loss.backward()  # type: ignore[no-untyped-call]


def train(rank: int, options: argparse.Namespace) -> None:
    """Run or continue one stage, as process `rank` of `options.processes`; process 0 logs and saves."""
    torch.set_num_threads(1)  # two processes of one thread train twice as fast as one of two: the steps are small
    torch.distributed.init_process_group("gloo", rank=rank, world_size=options.processes)
    torch.manual_seed(options.seed)
    model: Any = build(base_settings(options.size))
    model.to(memory_format=torch.channels_last).train()
    if options.init:
        model.load_state_dict(average_weights(options.init))
    raw = RawDecoder(model)
    average = Average(model, options.decay)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.05, betas=(0.9, 0.98))
    path, progress = options.out / "checkpoint.safetensors", Progress()
    if options.resume and path.exists():
        progress = load(path, model, average, optimiser)
        progress.resumed += 1
    rng = np.random.default_rng([options.seed, progress.resumed, rank])
    history: list[Rollout] = []
    saved, mark = progress.seconds, time.monotonic()
    for images, masks in _batches(options, progress.resumed, rank):
        rate = learning_rate(progress, options)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            shares = options.second_share, options.second_weight
            rollout = roll(model, raw, images, masks, rng, *shares, options.even_edges)
        _step(model, optimiser, rollout)
        spent, mark = progress.seconds + time.monotonic() - mark, time.monotonic()
        progress.seconds = average_gradients(model, spent if rank == 0 else 0.0, options.processes)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        progress.step += 1
        average.update(model, progress.step)
        history += [rollout.detached()] if rollout is not None else []
        finished = progress.seconds >= 60 * options.minutes
        if rank == 0 and history and (finished or progress.step % LOG_EVERY == 0):
            _say(options, progress, history, rate)
        if rank == 0 and (finished or progress.seconds - saved >= 60 * options.save_minutes):
            save(path, model, average, optimiser, progress)
            saved = progress.seconds
        if progress.step % LOG_EVERY == 0:
            history.clear()
        if finished:
            break
    torch.distributed.destroy_process_group()


def main() -> None:
    """Parse the command line and start the processes."""
    options = arguments().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    (options.out / "options.json").write_text(json.dumps(settings, indent=1))
    with socket.socket() as probe:  # a free port for the processes to meet at
        probe.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    spawn(train, args=(options,), nprocs=options.processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
