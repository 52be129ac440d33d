"""Beam's arguments: which runner does the work of the components that use Beam."""

from __future__ import annotations

# Beam's in-process runner by its own name: its default first looks for a faster one to fetch from the network. An image
# is named because TFX would else build a source package for each component; the local runner uses neither.
LOCAL_BEAM_ARGS = [
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--sdk_container_image=unused",
]


def with_runner(beam_args: list[str]) -> list[str]:
    """Return Beam's arguments, with ours for this machine in front unless they name a runner of their own."""
    return beam_args if any(arg.startswith("--runner") for arg in beam_args) else [*LOCAL_BEAM_ARGS, *beam_args]
