"""The command line: its commands, which are in `commands/`, and what becomes of what they raise.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from invreg.commands import asking, benchmarks, folders, models, running
from invreg.commands.flags import flags_of, with_flags
from invreg.computing.interruption import exit_status, in_words, is_one_of_several, listening_to_signals
from invreg.computing.threads import spin_less
from invreg.errors import InvregError

app = typer.Typer(
    name="invreg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Error = TypeVar("_Error", bound=BaseException)

#: The exit status by which typer says that something, Ctrl-C or another signal, has stopped a command.
_INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        from invreg import __version__

        print(f"invreg {__version__}")
        raise typer.Exit


@app.callback()
def _invreg(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Inverse problems with learned reconstruction that can be trusted."""


for _command in (
    running.run,
    benchmarks.benchmark,
    running.reconstruct,
    asking.validate,
    asking.plugins,
    asking.describe,
    asking.schema,
    asking.new_plugin,
    folders.status,
    folders.report,
    models.export,
    models.push,
    models.pull,
    folders.certify,
    folders.verify,
):
    app.command(_command.__name__.replace("_", "-"))(_command)
app.command(hidden=True)(running.job)


def main() -> None:
    """The console script. Errors that a person can act on are one message, without a traceback."""
    spin_less()
    _write_what_can_be_written()
    with listening_to_signals() as heard:
        try:
            status: Any = app(standalone_mode=False)
            if status != _INTERRUPTED:
                _part()
        except InvregError as error:
            error = _own_words(error)
            if os.environ.get("INVREG_TRACEBACK"):
                import traceback

                traceback.print_exc()
            first, space, rest = (error.where or "").partition(" ")
            flags = flags_of(_command_called())
            error.where = flags.get(first, first) + space + rest or None
            print(f"error: {with_flags(str(error), flags)}", file=sys.stderr)
            _leave(error.exit_status)
        except (typer.Abort, KeyboardInterrupt):
            status = _INTERRUPTED
        except typer.Exit as done:
            if done.exit_code != _INTERRUPTED:
                _part()
            sys.exit(done.exit_code)
        except Exception as error:
            if isinstance(lost := _own_words(error), InvregError):  # it failed because another process is gone
                print(f"error: {lost}", file=sys.stderr)
                _leave(lost.exit_status)
            show = getattr(error, "show", None)  # a usage error of the command line
            if show is None:
                raise
            show()
            sys.exit(getattr(error, "exit_code", 2))
        if status == _INTERRUPTED:  # some versions of typer return it, and others raise; all lose what was raised
            stop = heard() or KeyboardInterrupt()
            _own_words(stop)
            print(in_words(stop), file=sys.stderr)
            _leave(exit_status(stop))
    sys.exit(status if isinstance(status, int) else 0)


def _command_called() -> Any:
    commands = getattr(typer.main.get_command(app), "commands", {})
    return commands.get(sys.argv[1]) if len(sys.argv) > 1 else None


def _write_what_can_be_written() -> None:
    """Characters that standard output cannot encode, as on a terminal of another language, become question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _part() -> None:
    """Ends the work together, if there are several processes."""
    if is_one_of_several():
        from invreg.computing.processes import part

        part()


def _own_words(error: _Error) -> _Error | InvregError:
    """What this process says about the error that ends it; the process ends here if another one says it."""
    if not is_one_of_several():
        return error
    from invreg.computing.processes import last_words

    words = last_words(error)
    if words is None:
        _leave(exit_status(error) if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 1))
    return words


def _leave(status: int) -> NoReturn:
    """Ends this process, also while a thread of it waits for another process."""
    if not is_one_of_several():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
