"""`python -m invreg`."""

from invreg.cli import main

main()
