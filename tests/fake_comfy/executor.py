"""The queue and the thread that works on it: message order, history, interruption, and the scheduled run faults."""

import functools
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fake_comfy.generators import Generator
from fake_comfy.interpreter import Files, Interpreter

if TYPE_CHECKING:
    from fake_comfy.server import FakeComfy

Json = Any
NODE_FAULTS = (RuntimeError, ValueError, OSError, KeyError, AssertionError)  # what a node may raise
SAVES = ("SaveImage", "PreviewImage", "SaveLatent")  # what stands in the history
PNG_PREVIEW = b"\x00\x00\x00\x01\x00\x00\x00\x02"
AWAY_SECONDS = 0.3  # how long a restart takes


class InterruptedOnServer(Exception):
    """Stands for comfy's InterruptProcessingException."""


class Gone(Exception):
    """The server restarted or died under the prompt."""


@dataclass
class Item:
    """A queued prompt."""

    number: int
    prompt_id: str
    graph: Json
    client_id: str | None
    outputs: list[str]
    messages: list[Json] = field(default_factory=list)

    def listed(self) -> Json:
        """As /queue shows it."""
        return [self.number, self.prompt_id, self.graph, {"client_id": self.client_id}, self.outputs]


class Executor:
    """Runs prompts one after another."""

    def __init__(self, server: "FakeComfy", generator: Generator, step_seconds: float) -> None:
        self.server, self.step_seconds = server, step_seconds
        self.files = Files()
        self.interpreter = Interpreter(self.files, generator, tuple(map(int, server.version.split("."))))
        self.history: dict[str, Json] = {}
        self._pending: deque[Item] = deque()
        self._running: Item | None = None
        self._interrupted = False
        self.executed: list[str] = []  # classes of nodes, as they were run (not from the cache)
        self.loaded = True  # models on its GPU: from earlier work
        self._unload = self._reset = False
        self._stopped = False
        self._count = 0
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = self._interrupted = True
            self._changed.notify_all()
        self._thread.join(10)

    def put(self, prompt_id: str, graph: Json, client_id: str | None, outputs: list[str]) -> int:
        """Queue a prompt, also one whose id was here before."""
        with self._changed:
            self._count += 1
            self._pending.append(Item(self._count, prompt_id, graph, client_id, outputs))
            self._changed.notify_all()
            return self._count

    def queue(self) -> tuple[list[Json], list[Json]]:
        """`(running, pending)`."""
        with self._changed:
            running = [self._running.listed()] if self._running is not None else []
            return running, [item.listed() for item in self._pending]

    def delete(self, ids: list[str]) -> None:
        """Take pending prompts out."""
        with self._changed:
            self._pending = deque(item for item in self._pending if item.prompt_id not in ids)

    def interrupt(self, prompt_id: str | None) -> None:
        """Interrupt the running prompt, if it is this one."""
        with self._changed:
            if self._running is not None and prompt_id in (None, self._running.prompt_id):
                self._interrupted = True

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Drop the models between prompts; the cache too, where memory is to be freed."""
        with self._changed:
            self._unload |= unload_models or free_memory
            self._reset |= free_memory
            self._changed.notify_all()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._unload and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                if self._reset:
                    self.interpreter.reset()
                if self._unload:
                    self.loaded = self._unload = self._reset = False
                if not self._pending:
                    continue
                item = self._running = self._pending.popleft()
                self._interrupted = False
            self._run(item, self.server.faults.next_run())

    def _say(self, item: Item, kind: str, **data: Json) -> None:
        data["prompt_id"] = item.prompt_id
        if kind.startswith("execution_"):
            item.messages.append([kind, data | {"timestamp": int(time.time() * 1000)}])
        self.server.send(item.client_id, kind, data)

    def _run(self, item: Item, fault: str | None) -> None:
        before = dict(self.files.output)
        try:
            ui = self._execute(item, fault)
        except Gone:
            with self._changed:
                self._running = None
            return
        except InterruptedOnServer:
            if self._stopped:
                return
            self._say(item, "execution_interrupted", node_id="0", node_type="?", executed=[])
            ui = None
        except NODE_FAULTS as error:
            node_id, node_type = getattr(error, "at", ("0", "?"))
            kind = getattr(error, "kind", type(error).__name__)
            self._say(
                item, "execution_error", node_id=node_id, node_type=node_type, executed=[], exception_type=kind,
                exception_message=f"{error}\n", traceback=["  File fake\n"], current_inputs={}, current_outputs=[],
            )  # fmt: skip
            ui = None
        if fault == "late_history":
            time.sleep(0.3)
        if fault == "stale_cache":
            self.files.output = before
        done = ui is not None
        status = {"status_str": "success" if done else "error", "completed": done, "messages": item.messages}
        with self._changed:
            self.history[item.prompt_id] = {"prompt": item.listed(), "outputs": ui or {}, "status": status}
            self._running = None
        self.server.send(item.client_id, "executing", {"node": None, "prompt_id": item.prompt_id})

    def _execute(self, item: Item, fault: str | None) -> Json:
        graph, interpreter = item.graph, self.interpreter
        self._say(item, "execution_start")
        signatures = {node_id: interpreter.signature(graph, node_id) for node_id in graph}
        cached = [node_id for node_id, signature in signatures.items() if signature in interpreter.cache]
        self._say(item, "execution_cached", nodes=cached)
        results: dict[str, tuple[Any, ...]] = {}
        for node_id in interpreter.order(graph, item.outputs):
            signature, name = signatures[node_id], graph[node_id]["class_type"]
            if signature not in interpreter.cache:
                self.server.send(item.client_id, "executing", {"node": node_id, "prompt_id": item.prompt_id})
                try:
                    self._before(name, fault)
                    step = functools.partial(self._step, item, node_id, fault)
                    interpreter.cache[signature] = interpreter.execute(graph, node_id, results, step)
                except (Gone, InterruptedOnServer):
                    raise
                except NODE_FAULTS as error:
                    error.at = (node_id, name)  # type: ignore[union-attr]
                    raise
            results[node_id] = interpreter.cache[signature]
            if name == "SaveImageWebsocket":
                self._send_pictures(item, node_id, interpreter.cache.pop(signature), fault)
            elif node_id in item.outputs:
                ui = interpreter.ui[node_id]
                if fault == "one_missing":
                    ui["images"] = ui["images"][:-1]
                self._say(item, "executed", node=node_id, output=ui)
        self._say(item, "execution_success")
        return {node_id: interpreter.ui[node_id] for node_id in item.outputs if graph[node_id]["class_type"] in SAVES}

    def _send_pictures(self, item: Item, node_id: str, pictures: tuple[bytes, ...], fault: str | None) -> None:
        """Each told as progress of its node, then sent: a big-endian event number (1: a preview), a format (2: PNG)."""
        pictures = pictures[:-1] if fault == "one_missing" else () if fault == "sends_nothing" else pictures
        for index, png in enumerate(pictures):
            if fault == "drop_in_pictures" and index == 3:
                self.server.cut_sockets()
            if self._interrupted:
                raise InterruptedOnServer
            if fault == "other_previews":
                self._tell(item, "other", 0, 1)
                self.server.send_bytes(item.client_id, PNG_PREVIEW + pictures[0])
                self.server.send_preview(item.client_id)
            self._tell(item, node_id, index, len(pictures))
            self.server.send_bytes(item.client_id, PNG_PREVIEW + png)

    def _tell(self, item: Item, node_id: str, value: int, most: int) -> None:
        nodes = {node_id: {"value": value, "max": most, "state": "running", "node_id": node_id}}
        self.server.send(item.client_id, "progress_state", {"prompt_id": item.prompt_id, "nodes": nodes})
        data = {"value": value, "max": most, "node": node_id, "prompt_id": item.prompt_id}
        self.server.send(item.client_id, "progress", data)

    def _before(self, name: str, fault: str | None) -> None:
        self.executed.append(name)
        self.loaded |= "Sampler" in name
        if name == "KSampler" and fault == "out_of_memory":
            error: Exception = RuntimeError("Allocation on device 0 would exceed allowed memory. (out of memory)")
            error.kind = "torch.OutOfMemoryError"  # type: ignore[attr-defined]
            raise error
        if name == "KSampler" and fault == "error":
            raise ValueError("mat1 and mat2 shapes cannot be multiplied")
        if name == "KSampler" and fault == "interrupted":
            raise InterruptedOnServer
        if name == "SaveImage" and fault == "disk_full":
            raise OSError(28, "No space left on device")

    def _step(self, item: Item, node_id: str, fault: str | None, value: int, most: int) -> None:
        if value == 1 and fault == "drop_websocket":
            self.server.cut_sockets()
        if value == 1 and fault in ("restart", "die"):
            self._go_away(forever=fault == "die")
        deadline = time.monotonic() + (60.0 if fault == "hang" else self.step_seconds)
        while not self._interrupted and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._interrupted:
            raise InterruptedOnServer
        self._tell(item, node_id, value, most)
        self.server.send_preview(item.client_id)
        for text in self.server.says:
            self.server.send_text(item.client_id, text)

    def _go_away(self, forever: bool) -> None:
        self.server.away_until = float("inf") if forever else time.monotonic() + AWAY_SECONDS
        with self._changed:
            self._pending.clear()
            self.history.clear()
            self.interpreter.reset()
        self.server.cut_sockets()
        raise Gone
