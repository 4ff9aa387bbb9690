"""`showtell serve`: the web page and the REST API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from showtell.errors import MissingExtraError, ShowtellError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0: any that is free.",
)
@click.option(
    "-m", "--model", help="A model's name, a bundle or a run.  [default: the shipped one]"
)
@click.option("--workers", type=click.IntRange(1), help="[default: one for each core]")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of each worker's networks.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Photos that a worker captions at once.",
)
@click.option(
    "--batch-delay",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds that a free worker waits for a batch to fill.",
)
@click.option(
    "--queue-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Photos that may wait; past it the answer is 503.",
)
@click.option(
    "--queue-wait",
    type=click.FloatRange(0.01),
    default=1.0,
    show_default=True,
    help="Seconds until a request that waits is answered 503.",
)
@click.option(
    "--photo-timeout",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Seconds until a worker that is still at a photo is stopped.",
)
@click.option(
    "--upload-timeout",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds in which a body must arrive, and an answer be taken.",
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that accepted requests have to end after SIGTERM.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="MB",
    help="Of a request; past it the answer is 413.",
)
@click.option(
    "--max-uploads",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="MB",
    help="Of all requests together.",
)
@click.option(
    "--max-photos", type=click.IntRange(1), default=32, show_default=True, help="Of a request."
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=50_000_000,
    show_default=True,
    help="Of a photo.",
)
@click.option(
    "--rate",
    type=click.IntRange(0),
    metavar="REQUESTS",
    help="A minute, of one client; 0: any number.  [default: 600, on a loopback address 0]",
)
@click.option(
    "--api-key",
    envvar="SHOWTELL_API_KEY",
    metavar="KEY",
    help="What clients must send. Better in $SHOWTELL_API_KEY: others on this machine see what"
    " commands are given.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the key, on its first line.",
)
@click.option(
    "--no-api-key", is_flag=True, help="Listen where other machines reach it without a key."
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name that clients call it by; * for any. May be given again.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Whose X-Forwarded-For is believed. May be given again.",
)
@click.option("--access-log", is_flag=True, help="Log a line for each request.")
def serve(api_key_file: Path | None, **options: Any) -> None:
    """Serve a web page and a REST API that caption photos, on this machine only unless told so.

    Photos are kept in memory while they are captioned, and nowhere else. Ctrl-C or SIGTERM ends
    the service once what it has accepted is answered.

    \b
    showtell serve
    curl --data-binary @dog.jpg http://127.0.0.1:8000/v1/captions
    """
    try:
        from showtell.server.run_server import listen
        from showtell.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("showtell"):
            raise
        raise MissingExtraError("the service", "serve") from None

    if api_key_file is not None:
        if options["api_key"] is not None:
            raise click.UsageError("--api-key and --api-key-file: give one of them")
        options["api_key"] = _first_line(api_key_file)
    try:
        settings = ServerSettings(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    parent = click.get_current_context().obj
    listen(settings, debug=bool(parent and parent["debug"]))


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ShowtellError(f"{path}: no API key can be read from it ({error})") from None
    if not lines or not lines[0].strip():
        raise ShowtellError(f"{path}: empty: its first line is to be the API key")
    return lines[0].strip()
