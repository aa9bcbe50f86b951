"""What a server is and whether it can run a workflow, for `skate check`."""

import threading
from dataclasses import dataclass
from pathlib import Path

from stages._comfy.address import parse_server
from stages._comfy.client import ComfyClient, Timeouts
from stages._comfy.job import devices
from stages._comfy.validate import workflow_problems
from stages._comfy.workflow import load_workflow, packaged_workflow
from stages.base import Json

CHECK_TIMEOUTS = Timeouts(connect=5.0, request=30.0, patience=0.0)  # one try: the user waits for the answer


@dataclass(frozen=True)
class ServerReport:
    """What a server said.

    Attributes:
        host: `host:port`.
        version: ComfyUI's.
        devices: name, vram_total and vram_free in bytes of each.
        problems: what the workflow needs and the server lacks; empty when it can run.
    """

    host: str
    version: str
    devices: list[dict[str, Json]]
    problems: list[str]


def check_server(server: str, workflow: str | None = None) -> ServerReport:
    """Ask one server; `workflow` is a path, None the packaged `vace_template`.

    Raises:
        GeneratorError: when it does not answer.
        InputError: when the workflow file is unusable.
        UsageError: when `server` is no address.
    """
    found = load_workflow(Path(workflow) if workflow else packaged_workflow("vace_template"))
    client = ComfyClient(parse_server(server), CHECK_TIMEOUTS, threading.Event())
    try:
        stats = client.system_stats()
        problems = workflow_problems(found, client.object_info())
    finally:
        client.close()
    version = str(stats.get("system", {}).get("comfyui_version", "unknown"))
    return ServerReport(client.address.host, version, devices(stats), problems)
