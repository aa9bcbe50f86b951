"""One GPU for a server's models and ours, by turns: having the server leave it."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from stages.server.address import Address, parse_server
from stages.server.answers import Stats
from stages.server.client import ComfyClient, Timeouts
from stages.server.errors import OutOfMemory
from storage.errors import GeneratorError

logger = logging.getLogger("skate.comfyui")

LITTLE_BYTES = 256 * 2**20  # what a server whose models are gone may still hold for itself
UNLOAD_SECONDS = 10.0  # longest wait for it; a server that works on somebody's job unloads after that
LOOK_SECONDS = 0.1


def make_room(address: Address, timeouts: Timeouts) -> None:
    """Have a server unload its models, and wait until its memory is free.

    What its nodes computed stays, above all the encoded prompt: reading the text encoder (6.7 GB) and running it anew
    in every window would cost more than the sampler on a small card. A server that does not answer, or does not know
    how, is passed over with a warning: it may hold nothing, and where it does, the memory that lacks says so.
    """
    client = ComfyClient(address, replace(timeouts, patience=0.0), threading.Event())
    try:
        client.free()
        deadline = time.monotonic() + UNLOAD_SECONDS
        while held_bytes(client.system_stats()) > LITTLE_BYTES:
            if time.monotonic() > deadline:
                logger.warning("ComfyUI at %s holds on to its models: does it work for others?", address.host)
                return
            client.sleep(LOOK_SECONDS)
    except GeneratorError as error:
        logger.warning("ComfyUI at %s was not made to unload its models: %s", address.host, error)
    finally:
        client.close()


def held_bytes(stats: Stats) -> int:
    """What the server's torch holds of its devices' memory."""
    return sum(int(device.torch_vram_total or 0) for device in stats.devices)


@contextmanager
def naming_the_switch(address: Address, sharing: Sequence[str]) -> Iterator[None]:
    """Where memory runs out on a server that does not share our GPU, name the option that would make room there."""
    try:
        yield
    except OutOfMemory as error:
        if address in map(parse_server, sharing):
            raise
        raise OutOfMemory(
            f"{error}, or give --share-gpu yes: where skate's models are on the same card, they leave it then"
        ) from error
