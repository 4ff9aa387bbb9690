"""The web page: one template with its scripts and styles, all from this package."""

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
    from showtell.server.service import Service

# The `mimetypes` module depends on the machine's own table, so the types are listed here.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class StaticFile:
    """A file of the page in memory."""

    content: bytes
    media_type: str
    etag: str


@router.get("/", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """Return the page."""
    service: Service = request.app.state.service
    manifest = service.bundle.manifest
    text = _template().render(
        version=__version__,
        # Without a prefix the page has relative links, which work behind a proxy that strips one.
        root=f"{service.settings.root_path}/" if service.settings.root_path else "",
        model=manifest.name,
        preprocessing=manifest.preprocessing.to_dict(),
        max_bytes=service.settings.max_body * MEGABYTE,
    )
    return HTMLResponse(text, headers={"Cache-Control": "no-cache"})


@router.get("/static/{name}")
async def static_file(name: str, request: Request) -> Response:
    """Return a script, style or icon; 304 if the browser already has it."""
    file = _static_files().get(name)
    if file is None:
        raise HTTPException(404)
    # Browsers revalidate each file, so that scripts of two versions are never mixed.
    headers = {"Cache-Control": "no-cache", "ETag": file.etag}
    if request.headers.get("If-None-Match") == file.etag:
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
def _static_files() -> dict[str, StaticFile]:
    files = {}
    for entry in (resources.files("showtell.server") / "static").iterdir():
        content = entry.read_bytes()
        media_type = MEDIA_TYPES["." + entry.name.rpartition(".")[2]]
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        files[entry.name] = StaticFile(content, media_type, etag)
    return files
