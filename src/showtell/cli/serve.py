"""`showtell serve`: the web page and the REST API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_and_language_options, resolve_model
from showtell.errors import MissingExtraError, ShowtellError
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import read_regular

_MAX_KEY_FILE_BYTES = 1 << 20


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@model_and_language_options
@click.option(
    "--workers", type=click.IntRange(1), help="Worker processes.  [default: one per core]"
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads per worker.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Maximum photos that a worker captions at once.",
)
@click.option(
    "--batch-delay",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds that an idle worker waits for a batch to fill.",
)
@click.option(
    "--queue-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Photos that may wait for a worker; beyond it requests get status 503.",
)
@click.option(
    "--queue-wait",
    type=click.FloatRange(0.01),
    default=30.0,
    show_default=True,
    help="Seconds that a request may wait for a worker before it gets status 503; a request that"
    " would wait longer gets it at once.",
)
@click.option(
    "--photo-timeout",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Seconds after which a worker that has not finished a photo is stopped.",
)
@click.option(
    "--upload-timeout",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds in which a request's body must arrive, and its response must be read.",
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that accepted requests have to finish after SIGTERM.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="MB",
    help="Maximum size of a request's body; a larger one gets status 413.",
)
@click.option(
    "--max-uploads",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="MB",
    help="Maximum size of all bodies in memory together.",
)
@click.option(
    "--max-photos",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Maximum photos per request.",
)
@max_pixels_option(50_000_000)
@click.option(
    "--max-request-pixels",
    type=click.IntRange(1),
    default=400_000_000,
    show_default=True,
    help="Maximum pixels of all photos of a request; of a JPEG, a quarter counts. More get status"
    " 413.",
)
@click.option(
    "--rate",
    type=click.IntRange(0),
    metavar="REQUESTS",
    help="Requests per minute of one client; 0: no limit.  [default: 600; 0 on loopback]",
)
@click.option(
    "--api-key",
    envvar="SHOWTELL_API_KEY",
    metavar="KEY",
    help="Key that clients must send. Prefer $SHOWTELL_API_KEY: other users of this machine can see"
    " command lines.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the key on its first line.",
)
@click.option(
    "--no-api-key", is_flag=True, help="Allow other machines to use the service without a key."
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Additional host name that clients may use; * allows any. Repeatable.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network (10.0.0.0/8) of a proxy whose X-Forwarded-For header is trusted."
    " Repeatable.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Path prefix under which a proxy serves the service, such as /captions.",
)
@click.option("--access-log", is_flag=True, help="Log one line with the time for each request.")
def serve(api_key_file: Path | None, **options: Any) -> None:
    """Serve a web page and a REST API that caption photos.

    Only this machine can reach the service, unless --host says otherwise. Photos are kept in memory
    while they are captioned, and nowhere else. Ctrl-C or SIGTERM stops the service after it has
    answered all accepted requests.

    \b
    showtell serve
    curl --data-binary @dog.jpg http://127.0.0.1:8000/v1/captions
    """
    try:
        from showtell.server.run_server import run_server
        from showtell.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("showtell"):
            raise
        raise MissingExtraError("the service", "serve") from None

    if api_key_file is not None:
        if options["api_key"] is not None:
            raise click.UsageError("set either --api-key or --api-key-file, not both")
        options["api_key"] = _first_line(api_key_file)
    try:
        settings = ServerSettings(**options | {"model": resolve_model(options["model"])})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    group = click.get_current_context().obj
    run_server(settings, debug=bool(group and group["debug"]))


def _first_line(path: Path) -> str:
    try:
        lines = read_regular(path, _MAX_KEY_FILE_BYTES, or_pipe=True).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ShowtellError(
            f"{path}: cannot read an API key from this file ({error_reason(error)})"
        ) from None
    if not lines or not lines[0].strip():
        raise ShowtellError(f"{path}: the first line is empty: it must be the API key")
    return lines[0].strip()
