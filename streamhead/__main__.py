"""``python -m streamhead``."""

from streamhead.cli.app import main

main()
