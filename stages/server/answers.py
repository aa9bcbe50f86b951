"""What a ComfyUI server answers and says, as far as it is read; see `storage.boundary`."""

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct, field

Name = Annotated[str, Meta(max_length=1000)]
Amount = Annotated[int, Meta(ge=-(2**60), le=2**60)] | Annotated[float, Meta(ge=-(2.0**60), le=2.0**60)]
"""Of bytes or steps: servers write either kind of number."""


class Uploaded(Struct, frozen=True):
    """POST /upload/image: the name that the file got."""

    name: Name
    subfolder: Name = ""


class Problem(Struct, frozen=True):
    """What is wrong with a node or a request, in the server's words."""

    message: str = ""
    details: str = ""


class NodeProblems(Struct, frozen=True):
    """What is wrong with one node."""

    errors: list[Problem] = field(default_factory=list)
    class_type: str = "?"


Problems = dict[str, NodeProblems] | list[Any] | None
"""`node_errors`: by node; an empty list where the whole request was refused."""


class Taken(Struct, frozen=True):
    """POST /prompt, 200."""

    prompt_id: Name | None = None
    node_errors: Problems = None


class Refusal(Struct, frozen=True):
    """POST /prompt, 400."""

    error: Problem
    node_errors: Problems = None


class Extra(Struct, frozen=True):
    """What was submitted beside the graph."""

    client_id: Name | None = None


class Listed(Struct, frozen=True, array_like=True):
    """A job in the queue, or in its entry of the history: `[number, id, graph, extra, ...]`."""

    number: Raw
    prompt_id: Name
    graph: Raw = field(default_factory=Raw)
    extra: Extra = Extra()


class Queue(Struct, frozen=True):
    """GET /queue."""

    queue_running: list[Listed]
    queue_pending: list[Listed]


class Status(Struct, frozen=True):
    """How a job ended: `messages` are `[name, data]`, in order."""

    status_str: Name = "unknown"
    completed: bool = False
    messages: list[tuple[Name, Raw]] = field(default_factory=list)


class Failure(Struct, frozen=True):
    """Data of the message `execution_error`."""

    node_id: str | int = "?"
    node_type: str = "?"
    exception_type: str = ""
    exception_message: str = ""


class Entry(Struct, frozen=True):
    """A finished job in the history; outputs by node, of which ours alone is read."""

    outputs: dict[str, Raw] = field(default_factory=dict)
    status: Status | None = None
    prompt: Listed | None = None


class Image(Struct, frozen=True):
    """An output file as the server names it: query values of /view, never a local path."""

    filename: Name
    subfolder: Name = ""
    type: Name = "output"


class Output(Struct, frozen=True):
    """What a node that saves pictures, or latents, gave."""

    images: list[Image] = field(default_factory=list)
    latents: list[Image] = field(default_factory=list)


class Features(Struct, frozen=True):
    """GET /features; `max_upload_size` in bytes."""

    max_upload_size: Amount | None = None


class System(Struct, frozen=True):
    """The server itself."""

    comfyui_version: Name = ""


class Device(Struct, frozen=True):
    """A device of the server and its memory in bytes: all in all, and what the server's torch holds of it."""

    name: Name = "device"
    vram_total: Amount | None = None
    vram_free: Amount | None = None
    torch_vram_total: Amount | None = None
    torch_vram_free: Amount | None = None


class Stats(Struct, frozen=True):
    """GET /system_stats."""

    system: System = System()
    devices: list[Device] = field(default_factory=list)


class NodeInputs(Struct, frozen=True):
    """What a node takes: by name `[type or choices, {...}]`."""

    required: dict[str, Any] = field(default_factory=dict)
    optional: dict[str, Any] = field(default_factory=dict)
    hidden: dict[str, Any] = field(default_factory=dict)


class NodeInfo(Struct, frozen=True):
    """A node's part of /object_info."""

    input: NodeInputs = NodeInputs()
    output: list[Any] = field(default_factory=list)
    python_module: str = ""


class Message(Struct, frozen=True):
    """A text message of the websocket."""

    type: Name
    data: Raw = field(default_factory=Raw)


class Progress(Struct, frozen=True):
    """Data of the messages that are read: progress, executing, execution_*."""

    prompt_id: Name | None = None
    node: str | int | None = None
    value: Amount = 0
    max: Amount = 0
