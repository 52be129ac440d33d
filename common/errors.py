"""One hierarchy of errors: what happened, what was got, what was wanted, what to do next."""

from __future__ import annotations


class VouchError(Exception):
    """Say what went wrong in words a person can act on.

    `exit_code` is what a command line returns; `http_status` what a web service answers.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, what: str, *, got: object = None, wanted: str = "", fix: str = "") -> None:
        self.what, self.got, self.wanted, self.fix = what, got, wanted, fix
        parts = [what.rstrip(".")]
        if got is not None:
            parts.append(f"got: {got}")
        if wanted:
            parts.append(f"wanted: {wanted}")
        if fix:
            parts.append(f"next: {fix}")
        super().__init__("\n  ".join(parts))


class ConfigError(VouchError):
    """A configuration file or an override is wrong."""

    exit_code = 2
    http_status = 400


class DataError(VouchError):
    """The data cannot be read as the configuration says."""

    exit_code = 3
    http_status = 400


class GateRefused(VouchError):
    """A gate said no: the data, the model or the export cannot be vouched for."""

    exit_code = 4
    http_status = 409


class EnvironmentProblem(VouchError):
    """The machine, not the input, stands in the way (disk, lock, port, missing program)."""

    exit_code = 5
    http_status = 503
