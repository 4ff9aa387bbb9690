"""The command line: thin commands over the library, each imported only when it runs."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from showtell import __version__
from showtell.cli.standard_streams import (
    discard_output,
    open_standard_streams,
    show_error,
)
from showtell.errors import ShowtellError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable

# command -> (module, attribute, one line of help): `showtell --help` imports no command
COMMANDS: dict[str, tuple[str, str, str]] = {
    "caption": ("showtell.cli.caption", "caption", "Caption photos and folders of photos."),
    "explain": ("showtell.cli.explain", "explain", "Draw where the model looked for each word."),
    "serve": ("showtell.cli.serve", "serve", "Serve a web page and a REST API."),
    "photos": ("showtell.cli.photos", "photos", "Catalogue, search and tag a photo library."),
    "alt": ("showtell.cli.alt", "alt", "Check and write alternative texts in documents."),
    "cluster": ("showtell.cli.cluster", "cluster", "Caption millions of photos on Ray."),
    "data": ("showtell.cli.data", "data", "Check, draw and download captioned datasets."),
    "train": ("showtell.cli.train", "train", "Train a captioner from a recipe."),
    "export": ("showtell.cli.export", "export", "Turn a training run into a model bundle."),
    "evaluate": ("showtell.cli.evaluate", "evaluate", "Score a model as papers do."),
    "compare": ("showtell.cli.compare", "compare", "Compare the scores of models."),
    "plot": ("showtell.cli.plot", "plot", "Plot training runs: curves, lengths, words."),
    "models": ("showtell.cli.models", "models", "List, show, pull and remove models."),
    "doctor": ("showtell.cli.doctor", "doctor", "Check the installation."),
}

FAILED, USAGE = 1, 2


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="showtell")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug messages.")
@click.pass_context
def showtell(ctx: click.Context, debug: bool) -> None:
    """Caption photos: a CNN reads the photo, an LSTM writes the sentence."""
    ctx.obj = {"debug": debug}
    configure_logging(debug=debug)


def configure_logging(*, debug: bool) -> None:
    """Send showtell's messages to standard error, and only warnings of other libraries.

    With `debug`, everything is sent; without, nothing of Pillow's.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    logging.getLogger("showtell").setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # Pillow's warnings about damaged files: the photo opens anyway, or fails with its own error
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; an expected error is one line on standard error.

    Exit codes: 0 all done, 1 something failed and is named, 2 wrong usage.
    """
    open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        _refuse_files_that_look_like_options(arguments)
        code = showtell.main(args=arguments, prog_name="showtell", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        show_error(error)
        sys.exit(USAGE)
    except click.exceptions.Abort:
        show_error("showtell: interrupted")
        sys.exit(130)
    except click.ClickException as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        discard_output()  # the reader has closed the pipe (`| head`), which is not an error of ours
        sys.exit(FAILED)
    except OSError as error:
        if debug:
            raise
        discard_output()
        show_error(f"showtell: {_source_of(error)}: {error_reason(error)}")
        sys.exit(FAILED)
    except ShowtellError as error:
        if debug:
            raise
        show_error(f"showtell: {printable(str(error))}")
        sys.exit(FAILED)


def _source_of(error: OSError) -> str:
    """Return what failed: a file, or the most likely cause if the error names none."""
    if error.filename is not None:
        return printable(str(error.filename))
    try:
        Path.cwd()
    except OSError:
        return "the current folder"
    return "standard output or another file"


def _refuse_files_that_look_like_options(arguments: list[str]) -> None:
    """Raise UsageError for a file that begins with a dash, as `showtell caption *` may give."""
    for argument in itertools.takewhile(lambda argument: argument != "--", arguments):
        if len(argument) > 2 and argument.startswith("-") and os.path.lexists(argument):
            raise click.UsageError(f"{argument} is a file: write ./{argument}, or -- before names")
