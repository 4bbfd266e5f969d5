"""The reference of the command line, made from the commands themselves.

`<!-- commands -->` in a page is replaced by every command with its arguments and options.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MARKER = "<!-- commands -->"


def described(markdown: str) -> str:
    """A page with the reference of all commands."""
    return markdown.replace(_MARKER, "\n".join(_commands())) if _MARKER in markdown else markdown


def _commands() -> Iterator[str]:
    from typer.main import get_command

    from invreg.cli import app

    group: Any = get_command(app)
    for name, command in group.commands.items():
        parameters = [parameter for parameter in command.params if parameter.name != "help"]
        options = any(map(_is_option, parameters))
        arguments = [_usage(parameter) for parameter in parameters if not _is_option(parameter)]
        usage = " ".join(["invreg", name, *arguments, *(["[OPTIONS]"] if options else [])])
        yield f"### `invreg {name}` {{ #command-{name} }}\n"
        yield f"{command.help}\n"
        yield f"```bash\n{usage}\n```\n"
        if parameters:
            yield "| | |"
            yield "|---|---|"
        for parameter in parameters:
            yield f"| `{_name(parameter)}` | {getattr(parameter, 'help', None) or ''}{_default(parameter)} |"
        yield ""


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _name(parameter: Any) -> str:
    if not _is_option(parameter):
        return str(parameter.name).upper()
    flag = parameter.opts[0]
    return flag if parameter.is_flag else f"{flag} {_value(parameter)}"


def _value(parameter: Any) -> str:
    return str(parameter.metavar or str(parameter.name).upper())


def _default(parameter: Any) -> str:
    is_empty = parameter.required or parameter.default in (None, False, "")
    return "" if is_empty else f" Default: `{parameter.default}`."


def _usage(parameter: Any) -> str:
    return _name(parameter) if parameter.required else f"[{_name(parameter)}]"
