"""The console script, and `python -m invreg`. Ctrl-C ends both in words from their first import on."""

import sys


def main() -> None:
    """The command line. Its imports take a moment, in which its own handlers do not listen yet."""
    try:
        from invreg.cli import main as command

        command()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
