"""The web page: one template, and its scripts and styles, all from this package."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from showtell import __version__
from showtell.server.settings import MEGABYTE

if TYPE_CHECKING:
    from showtell.server.app import Service

# Named here: what a machine's own table says of a suffix is not to be relied on.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class StaticFile:
    """A file of the page, held in memory: its bytes, media type and entity tag."""

    content: bytes
    media_type: str
    tag: str


@router.get("/", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """Return the page."""
    service: Service = request.app.state.service
    manifest = service.bundle.manifest
    text = _template().render(
        version=__version__,
        model=manifest.name,
        preprocessing=manifest.preprocessing.to_dict(),
        max_bytes=service.settings.max_body * MEGABYTE,
    )
    return HTMLResponse(text, headers={"Cache-Control": "no-cache"})


@router.get("/static/{name}")
async def static(name: str, request: Request) -> Response:
    """Return a script or style; 304 where the browser has it already."""
    file = _files().get(name)
    if file is None:
        raise HTTPException(404, f"The page has no file {name!r}.")
    # Asked for each time, so that scripts of two versions never meet.
    headers = {"Cache-Control": "no-cache", "ETag": file.tag}
    if request.headers.get("If-None-Match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("showtell.server"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html")


@functools.cache
def _files() -> dict[str, StaticFile]:
    found = {}
    for entry in (resources.files("showtell.server") / "static").iterdir():
        content = entry.read_bytes()
        kind = MEDIA_TYPES["." + entry.name.rpartition(".")[2]]
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        found[entry.name] = StaticFile(content, kind, tag)
    return found
