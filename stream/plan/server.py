"""What ComfyUI will take of this machine's RAM, where it runs here, and of its disk, wherever it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from stages.generators import GENERATORS
from storage.sizes import format_size
from stream.options.config import RunConfig
from stream.options.recipes import wanted


@dataclass(frozen=True)
class ServerNeed:
    """RAM that servers on this machine are still to take.

    Attributes:
        total: bytes, at the highest; what they hold already is not in it.
        models: bytes by file name, None where a file's size is not known.
        held: bytes that they hold now.
    """

    total: int
    models: Mapping[str, int | None]
    held: int

    def __str__(self) -> str:
        known = ", ".join(f"{name} {format_size(size)}" for name, size in self.models.items() if size is not None)
        unknown = ", ".join(name for name, size in self.models.items() if size is None)
        left_out = f"; not counted, their size is not known: {unknown}" if unknown else ""
        held = f"; it holds {format_size(self.held)} already" if self.held else ""
        return f"ComfyUI on this machine {format_size(self.total)} more ({known or 'no model known'}{left_out}{held})"


def server_need(config: RunConfig, size: tuple[int, int] | None) -> ServerNeed | None:
    """What the servers of this run that are on this machine need; None where none is.

    Args:
        config: of the run.
        size: (width, height) of what is generated.
    """
    if not GENERATORS[config.generator].on_servers or not config.generates or size is None:
        return None
    from stages.recipes.footprint import server_footprint
    from stages.recipes.registry import choose
    from stages.server.address import on_this_machine, parse_server

    addresses = {address.host: address for address in map(parse_server, config.server) if on_this_machine(address)}
    if not addresses:
        return None
    graph = choose(wanted(vars(config))).workflow.graph
    footprint = server_footprint(graph, *size, config.window)
    held = {port: resident_bytes(port) for port in {address.port for address in addresses.values()}}
    total = sum(max(0, footprint.total - held[address.port]) for address in addresses.values())
    return ServerNeed(total, footprint.models, sum(held.values()))


def kept_by_server(config: RunConfig, size: tuple[int, int] | None, frames: int | None) -> str | None:
    """What stays in a server's folders, in words; None where no server is used. Pictures count as incompressible.

    Args:
        size: (width, height) of what is generated. frames: of the clip; None: not known.
    """
    if not GENERATORS[config.generator].on_servers or not config.generates or size is None:
        return None
    from stages.vace.continuity import latent_slots

    windows = None if frames is None else config.count_windows(frames)
    pixels = size[0] * size[1]
    window = window_bytes(config, size)

    def counted(a_window: int) -> str:
        return f"{format_size(a_window)} a window" + (f", {format_size(a_window * windows)}" if windows else "")

    deleted = "; --comfy-output deletes them once they are committed" if config.comfy_output else ""
    latent = 4 * 16 * latent_slots(config.window) * (pixels // 64)  # float32, 16 channels, an eighth of the sides
    kept = f"; latents, {counted(latent)}" if config.continuity == "latent" else ""
    return (
        f"on ComfyUI up to {format_size(window)} of uploads{kept}; no pictures, but where it lacks SaveImageWebsocket "
        f"up to {counted(window)}{deleted}"
    )


def window_bytes(config: RunConfig, size: tuple[int, int]) -> int:
    """A window's pictures of this (width, height), taken as incompressible."""
    return 3 * size[0] * size[1] * config.window


def moved_bytes(config: RunConfig, size: tuple[int, int] | None, windows: int | None) -> int | None:
    """Bytes to and from servers at most: what is uploaded, and what comes back. 0 where none is used.

    Args:
        size: (width, height) of what is generated. windows: of the clip; None: not known.
    """
    if not GENERATORS[config.generator].on_servers or not config.generates or size is None:
        return 0
    return None if windows is None else 2 * windows * window_bytes(config, size)


def resident_bytes(port: int) -> int:
    """What the process that listens on a TCP port of this machine holds in RAM; 0 where that cannot be seen."""
    try:
        listening = [item for item in psutil.net_connections("tcp") if item.status == psutil.CONN_LISTEN]
        found = {item.pid for item in listening if item.laddr and item.laddr[1] == port and item.pid}
        return sum(int(psutil.Process(pid).memory_info().rss) for pid in found)
    except (psutil.Error, OSError):
        return 0  # another user's, or in a container
