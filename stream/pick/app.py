"""The page and what it asks for."""

import base64
import json
import secrets
import time
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from storage.boundary import printable
from storage.errors import EnvironmentFault, SkateError
from stream.pick.desk import Desk
from stream.pick.guard import App, Guard
from stream.report.html import THEME

FrameNumber = Annotated[int, Path(ge=0, le=10**9)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Pointed(BaseModel):
    """A box or points on a frame."""

    model_config = ConfigDict(extra="forbid")
    frame: Annotated[int, Field(ge=0, le=10**9)]
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    points: Annotated[list[tuple[Coordinate, Coordinate, Literal[0, 1]]], Field(max_length=64)] = []


class Shown(BaseModel):
    """A frame that is looked at."""

    model_config = ConfigDict(extra="forbid")
    frame: Annotated[int, Field(ge=0, le=10**9)]


class Named(BaseModel):
    """A file that the scene names."""

    model_config = ConfigDict(extra="forbid")
    file: Annotated[str, Field(max_length=4096)]


class Saved(BaseModel):
    """The subjects of a scene, as in a file: `stream.options.scene` checks them."""

    model_config = ConfigDict(extra="forbid")
    subjects: Annotated[list[dict[str, Any]], Field(max_length=64)]


class Json(JSONResponse):
    """JSON in ASCII: bytes of a file's name that are no UTF-8 have no other form."""

    def render(self, content: Any) -> bytes:
        """What is sent."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def make_app(desk: Desk, port: int, token: str) -> App:
    """What the server serves: the page at `/`, and its questions under `/api`; all else, and all others, are refused.

    Args:
        desk: what is worked on. port: of the server. token: that the address has.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, default_response_class=Json)

    @app.get("/")
    def page() -> HTMLResponse:
        return _page()

    @app.get("/api/clip")
    def clip() -> dict[str, Any]:
        return desk.facts()

    @app.get("/api/shots")
    def shots() -> dict[str, Any]:
        return desk.shot_facts()

    @app.get("/api/frame/{frame}")
    def frame(frame: FrameNumber) -> Response:
        return Response(desk.jpeg(frame), media_type="image/jpeg")

    @app.get("/api/tracked/{name}/{frame}")
    def tracked(name: str, frame: FrameNumber) -> Response:
        return Response(desk.tracked(name, frame), media_type="image/png")

    @app.post("/api/given")
    def given(asked: Named) -> Response:
        return Response(desk.given(asked.file), media_type="image/png")

    @app.get("/api/redone/{frame}")
    def redone(frame: FrameNumber) -> dict[str, Any]:
        return desk.redone(frame)

    @app.post("/api/ready")
    def ready(asked: Shown) -> dict[str, Any]:
        desk.prepare(asked.frame)
        return {}

    @app.post("/api/mask")
    def mask(asked: Pointed) -> dict[str, Any]:
        began = time.perf_counter()
        picture, box, pixels = desk.mask(asked.frame, asked.box, asked.points)
        return {
            "mask": base64.b64encode(picture).decode(),
            "box": box,
            "pixels": pixels,
            "seconds": round(time.perf_counter() - began, 3),
        }

    @app.post("/api/save")
    def save(asked: Saved) -> dict[str, Any]:
        return {"commands": desk.save(asked.subjects), "target": str(desk.target), "subjects": desk.subjects}

    app.add_exception_handler(SkateError, _told)
    app.add_exception_handler(RequestValidationError, _unfit)
    return Guard(app, port, token)


async def _told(request: Request, error: Exception) -> Json:
    """An error of this program's, in its words."""
    return Json({"error": str(error)}, 500 if isinstance(error, EnvironmentFault) else 400)


async def _unfit(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return Json({"error": printable(f"{where}: {first['msg']}", 200)}, 400)


def _page() -> HTMLResponse:
    """The page. Only its own script and style run, and nothing is loaded from anywhere else."""
    nonce = secrets.token_urlsafe(16)
    text = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    filled = text.replace("{{nonce}}", nonce).replace("/*{{theme}}*/", THEME)
    return HTMLResponse(filled, headers={"Content-Security-Policy": policy})
