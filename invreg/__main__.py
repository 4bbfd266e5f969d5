"""The console script, and `python -m invreg`. Ctrl-C ends both in words from their first import on."""

import sys


def main() -> None:
    """The command line. Its imports take a moment, in which its own handlers do not listen yet."""
    try:
        from invreg.cli import main as command

        command()
    except KeyboardInterrupt as stop:
        from invreg.computing.interruption import exit_status, in_words

        print(in_words(stop), file=sys.stderr)
        sys.exit(exit_status(stop))


if __name__ == "__main__":
    main()
