"""`python -m monitoring`."""

from __future__ import annotations

from monitoring.cli import main

main(prog_name="python -m monitoring")
