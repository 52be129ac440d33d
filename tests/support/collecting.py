"""A hospital whose predictions are logged and labelled, for what is collected of them."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from config.load import load_settings
from config.settings import Settings
from monitoring.cli import main
from tests.support.drift import Watched
from tests.support.web.logged import batch, put
from webapp.types import RequestInfo

OLD = [(20.0, "a", "no"), (30.5, "b", "yes"), (40.0, "", "no")]
AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
SCHEMA = """
feature { name: "size" type: FLOAT presence { min_fraction: 1.0 } float_domain { min: 0 max: 100 } }
feature { name: "kind" type: BYTES string_domain { value: "a" value: "b" value: "c" } }
feature { name: "outcome" type: BYTES presence { min_fraction: 1.0 } string_domain { value: "no" value: "yes" } }
"""
CONFIG = """
name: patients
schema: schema.pbtxt
data: {{source: "{source}", format: {format}, label: outcome, classes: [no, yes], ignore: [id]}}
{more}
"""


class Hospital:
    """A configuration, a span of examples, and a log of predictions."""

    def __init__(self, root: Path, data_format: str = "csv", source: str = "", more: str = "") -> None:
        self.config, self.data, self.watched = root / "config", root / "data", Watched(root / "var")
        self.config.mkdir()
        (self.config / "schema.pbtxt").write_text(SCHEMA)
        source = source or f"../data/span-{{SPAN}}/*.{data_format}"
        (self.config / "pipeline.yaml").write_text(CONFIG.format(source=source, format=data_format, more=more))
        first = self.data / "span-1"
        first.mkdir(parents=True)
        if data_format == "csv":
            rows = [f"{number};{size};{kind};{label}" for number, (size, kind, label) in enumerate(OLD)]
            (first / "rows.csv").write_text("\r\n".join(["id;size;kind;outcome", *rows]) + "\r\n")
            text = (self.config / "pipeline.yaml").read_text().replace("ignore: [id]", "ignore: [id], delimiter: ';'")
            (self.config / "pipeline.yaml").write_text(text)
        else:
            table = pa.table(dict(zip(("size", "kind", "outcome"), zip(*OLD, strict=True), strict=True)))
            pq.write_table(table.append_column("id", pa.array([1, 2, 3])), first / "rows.parquet")

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def asked(self, rows: list[tuple[Any, str | None]], labels: dict[int, str], **given: Any) -> None:
        """Have rows predicted, and some of them labelled by a user."""
        at, who, reference = (given.get(k, v) for k, v in (("at", AT), ("who", "ann"), ("reference", "")))
        put(
            self.watched.var / "predictions" / "patients",
            batch(
                len(rows),
                at,
                "patients",
                columns={"size": np.array([size for size, _ in rows], float), "kind": [kind or "" for _, kind in rows]},
                labels=["no"] * len(rows),
                asked=RequestInfo(f"request-{at:%d%H%M%S%f}", "ann", "api", reference=reference),
            ),
        )
        self.watched.label(at, labels, who=who)

    def collect(self, *arguments: str) -> Result:
        return self.told("collect", *arguments)

    def forget(self, reference: str) -> Result:
        return self.told("forget", reference)

    def told(self, command: str, *arguments: str) -> Result:
        """Run one of our commands about the model."""
        words = [command, "patients", *arguments, "--config", str(self.config)]
        return CliRunner(env={"VOUCH_VAR": str(self.watched.var)}).invoke(main, words)

    def new_rows(self, span: int = 2) -> list[list[str]]:
        text = (self.data / f"span-{span}" / f"collected-{span:04d}.csv").read_text(encoding="utf-8")
        return [line.split(";") for line in text.splitlines()]

    def summary(self, span: int = 2) -> dict[str, Any]:
        return json.loads((self.data / f"span-{span}" / "_span.json").read_text())
