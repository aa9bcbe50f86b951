"""What `skate check` looks at on a ComfyUI server, and in a workflow."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.boundary import printable
from storage.errors import GeneratorError, InputError
from storage.sizes import format_size
from stream.check.rows import Row, line_of

if TYPE_CHECKING:
    from stages.server.answers import Stats


def check_server(server: str, workflow: str | None) -> Iterator[Row]:
    """A ComfyUI server: that it answers, its version and memory, and whether it can run the workflows."""
    from stages.server.address import parse_server
    from stages.server.client import ComfyClient, Timeouts
    from stages.server.errors import ServerUnreachable

    client = ComfyClient(parse_server(server), Timeouts(connect=5, request=30, patience=0), threading.Event())
    try:
        stats = client.system_stats()
        object_info = client.object_info()
    except ServerUnreachable as error:
        why = type(error.__cause__).__name__ if error.__cause__ else "it answers 5xx"
        remedy = "start ComfyUI there, or name the host and port that it prints when it starts"
        yield Row(f"ComfyUI {server}", False, f"no answer ({why})", remedy)
        return
    except GeneratorError as error:
        yield Row(f"ComfyUI {server}", False, line_of(error), "see that --server names a ComfyUI server")
        return
    finally:
        client.close()
    yield Row(f"ComfyUI {server}", True, f"{_server_text(stats)}, {len(object_info)} nodes")
    yield from check_workflows(server, workflow, object_info)


def _server_text(stats: "Stats") -> str:
    parts = [f"version {printable(stats.system.comfyui_version, 40) or 'unknown'}"]
    for device in stats.devices:
        free, total = int(device.vram_free or 0), int(device.vram_total or 0)
        parts.append(f"{printable(device.name, 80)} {format_size(free)} of {format_size(total)} free")
    return ", ".join(parts)


def check_workflows(server: str, workflow: str | None, object_info: Mapping[str, Any]) -> Iterator[Row]:
    """Whether the server has the nodes and model files of the given workflow, else of each that comes with skate.

    Of those that come along the first is the default, which a run without --workflow needs.
    """
    from stages.recipes.registry import DEFAULT, RECIPES, plain
    from stages.server.validate import check_workflow

    for name in [workflow] if workflow else RECIPES:
        needed = workflow is not None or name == DEFAULT
        label = f"workflow {name if workflow is None else Path(name).name}"
        try:
            check_workflow(plain(name).workflow, object_info, server)
        except (InputError, GeneratorError) as error:
            yield Row(label, False, line_of(error), "install what is named, or choose another --workflow", needed)
        else:
            yield Row(label, True, f"{server} has its nodes and model files", needed=needed)


def check_workflow_file(workflow: str) -> Row:
    """Whether the file is a workflow that values can be put into; what a server lacks for it only the server tells."""
    from stages.recipes.registry import plain

    label = f"workflow {Path(workflow).name}"
    try:
        plain(workflow)
    except InputError as error:
        return Row(label, False, line_of(error), "export it again, or choose another --workflow")
    return Row(label, True, "can be filled in; give --server too to see whether a server has what it needs")
