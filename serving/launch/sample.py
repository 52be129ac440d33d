"""Ask a server that was just started for a few predictions, by REST and by gRPC, so that people see it answer."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from rich.console import Console
from rich.table import Table

from serving.client.types import DEFAULT_SIGNATURE, VersionSpec, connect
from serving.launch.launcher import Running
from serving.release.checks import read_golden
from serving.release.state import STABLE

PROTOCOLS = ("rest", "grpc")


def show_sample(running: Running, rows: int) -> None:
    """Print so many predictions of each model for its golden rows. Raises what the clients raise."""
    for model, state in running.models.items():
        columns = read_golden(running.root / model, state.stable).columns(DEFAULT_SIGNATURE)
        first = {name: values[:rows] for name, values in columns.items()}
        table = Table(title=f"{model} {state.stable}", title_justify="left")
        table.add_column("row")
        answers = []
        for protocol in PROTOCOLS:
            table.add_column({"rest": "by REST", "grpc": "by gRPC"}[protocol])
            with closing(connect(running.addresses, protocol)) as client:
                answers.append(_texts(client.predict(model, first, VersionSpec(label=STABLE))))
        for number, cells in enumerate(zip(*answers, strict=True)):
            table.add_row(str(number), *cells)
        Console(highlight=False).print(table)


def _texts(outputs: dict[str, list[Any]]) -> list[str]:
    """Return label and probability of each row: of the positive class, or of the likeliest if there are more."""
    scores = outputs.get("probability") or [max(row) for row in outputs["probabilities"]]
    return [f"{label} {score:.4f}" for label, score in zip(outputs["label"], scores, strict=True)]
