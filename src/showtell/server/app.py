"""The service as an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from showtell import __version__
from showtell.errors import ShowtellError
from showtell.server import web_page
from showtell.server.middleware import RequestMiddleware
from showtell.server.openapi import add_problem_schema, problem_responses
from showtell.server.problem_details import CLIENT_CLOSED_REQUEST, add_problem_handlers
from showtell.server.routes import api_routes, monitoring_routes
from showtell.server.service import Service
from showtell.server.settings import ServerSettings


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application; its lifespan starts and stops the workers.

    `state.service` is the Service. `state.failure` is the error if the workers cannot be started.

    Raises BundleError if the model does not exist or is damaged.
    """
    service = Service.create(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.workers.start()
            yield
        except ShowtellError as error:
            app.state.failure = error
            raise
        finally:
            await service.workers.stop()

    app = FastAPI(
        title="showtell",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="Captions for photos. Errors are problem documents (RFC 9457).",
        license_info={"name": "Apache-2.0"},
        responses=problem_responses(400, 403, 500),
    )
    app.state.service = service
    app.state.failure = None
    add_problem_handlers(app)

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    app.include_router(monitoring_routes(service))
    app.include_router(api_routes(service))
    app.include_router(web_page.router)
    app.add_middleware(RequestMiddleware, settings=settings, metrics=service.metrics)
    add_problem_schema(app)
    return app
