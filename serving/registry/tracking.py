"""One run of the pipeline as a run of MLflow: parameters, metrics, curves, files, the data set, and the way back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from common.files import write_text
from serving.registry.queue import RunEnded

RUN_TAG = "mlmd.run_id"  # which run of ML Metadata it is; by it a run is found again
BACKLINK = "mlflow.json"  # beside the run's log: which run of MLflow it is
REPORT = "report.json"
DISPLAY = (
    "title",
    "description",
    "features",
    "class_names",
    "showcase",
    "registry",
    "beam_args",
)  # no parameters of a model
AT_ONCE = {"params": 100, "metrics": 1000}  # MLflow's limits
MAX_PARAMETER, MAX_TAG, MAX_DIGEST = 6000, 5000, 36
COLUMN_TYPES = {"numeric": "double", "categorical": "string"}


def track_run(client: Any, entry: RunEnded, artifacts: str | None) -> str:
    """Tell MLflow of a run, and return the id that it has there. What was cut short is taken up; done is done.

    `artifacts` is where a new experiment keeps its files, None where the server knows.
    """
    experiment = _experiment(client, entry.model, artifacts)
    run = find_run(client, experiment, entry.run_id)
    if run is None:
        run = client.create_run(experiment, _milliseconds(entry.started), tags=_tags(entry), run_name=entry.run_id)
    if run.info.end_time is None:
        _fill(client, run.info.run_id, entry)
        status = "FINISHED" if entry.state == "complete" else "FAILED"
        client.set_terminated(run.info.run_id, status, _milliseconds(entry.time))
    folder = Path(entry.folder)
    if folder.is_dir():
        link = {"run_id": run.info.run_id, "experiment_id": experiment, "experiment": entry.model}
        write_text(folder / BACKLINK, json.dumps(link, indent=1) + "\n")
    return str(run.info.run_id)


def read_backlink(folder: Path) -> dict[str, str] | None:
    """Return which run of MLflow a run is, by the folder of its log; None if it was not told yet."""
    try:
        link: dict[str, str] = json.loads((folder / BACKLINK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return link


def find_run(client: Any, experiment: str, run_id: str) -> Any:
    """Return MLflow's run of a run of the pipeline, None if it was never told of it."""
    runs = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
    return runs[0] if runs else None


def _experiment(client: Any, model: str, artifacts: str | None) -> str:
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        return str(client.create_experiment(model, artifact_location=artifacts))
    return str(experiment.experiment_id)


def _tags(entry: RunEnded) -> dict[str, str]:
    outcome = f"pushed as version {entry.version}" if entry.version else "not pushed"
    tags = {
        RUN_TAG: entry.run_id,
        "mlmd.store": entry.metadata,
        "mlmd.executions": json.dumps(entry.executions),
        "vouch.state": entry.state,
        "vouch.outcome": outcome,
        "vouch.command": entry.command,
        "mlflow.source.name": entry.command,
        "mlflow.note.content": "\n\n".join([f"**{outcome[:1].upper()}{outcome[1:]}.**", *entry.verdicts.values()]),
        **{f"gate.{gate}": sentence for gate, sentence in entry.verdicts.items()},
    }
    if entry.version:
        tags["serving.version"] = str(entry.version)
    return {key: value[:MAX_TAG] for key, value in tags.items()}


def _fill(client: Any, run: str, entry: RunEnded) -> None:
    for place, name in ((entry.schema, "schema"), (entry.statistics, "statistics"), (entry.report, "report")):
        if place and Path(place).is_dir():
            client.log_artifacts(run, place, name)
    report = Path(entry.report or "") / REPORT
    if not (entry.report and report.is_file()):
        if entry.report:
            client.set_tag(run, "vouch.missing", "its report was removed before MLflow was told of the run")
        return
    facts = json.loads(report.read_text(encoding="utf-8"))
    _log_in_batches(client, run, "params", parameters(facts))
    _log_in_batches(client, run, "metrics", list(metrics(facts, _milliseconds(entry.time))))
    client.log_dict(run, {"classes": facts["classes"], "true_by_decided": facts["confusion"]}, "confusion_matrix.json")
    names = facts["settings"].get("class_names") or {}
    client.log_dict(
        run, {"classes": facts["classes"], "positive": facts["positive"], "names": names}, "class_names.json"
    )
    client.log_inputs(run, [_data_set(facts)])
    for key, value in (("data.sha256", facts["source_digest"]), ("settings.hash", facts["settings_hash"])):
        client.set_tag(run, key, value)


def _log_in_batches(client: Any, run: str, kind: str, values: Sequence[Any]) -> None:
    size = AT_ONCE[kind]
    for start in range(0, len(values), size):
        client.log_batch(run, **{kind: values[start : start + size]})


def parameters(facts: Mapping[str, Any]) -> list[Any]:
    """Return all settings that can change the model, by their place in `pipeline.yaml`, as MLflow's parameters."""
    from mlflow.entities import Param

    settings = {key: value for key, value in facts["settings"].items() if key not in DISPLAY}
    return [Param(_name(key), _text(value)[:MAX_PARAMETER]) for key, value in _leaves(settings)]


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metrics(facts: Mapping[str, Any], time_ms: int) -> Iterator[Any]:
    """Yield as MLflow's metrics what test says, with bounds, of slices and plain models too, and each epoch's curve."""
    from mlflow.entities import Metric

    parts = [("", facts["metrics"])]
    parts += [(f"slice/{part['name']}/", part["metrics"]) for part in facts["slices"]]
    parts += [(f"baseline/{part['name']}/", part["metrics"]) for part in facts["baselines"]]
    values = {
        f"{prefix}{metric['name']}{ending}": metric[key]
        for prefix, bounded in parts
        for metric in bounded
        for ending, key in (("", "value"), (".lower", "lower"), (".upper", "upper"))
    }
    values |= {f"rows/{split['name']}": split["rows"] for split in facts["splits"]}
    values |= {f"seconds/{stage['component']}": stage["seconds"] for stage in facts["stages"]}
    point = facts["operating_point"] or {}
    values |= {
        f"operating_point/{key}": point.get(key)
        for key in ("threshold", "recall", "precision", "false_positive_rate", "vouched")
    }
    values["epoch/kept"] = facts["history"]["kept_epoch"]
    for key, value in values.items():
        if value is not None:  # what is not defined is null in the report
            yield Metric(_name(key), float(value), time_ms, 0)
    for key, curve in facts["history"]["values"].items():
        for epoch, value in enumerate(curve, start=1):
            if value is not None:
                yield Metric(_name(f"epoch/{key}"), float(value), time_ms, epoch)


def _name(text: str) -> str:
    """Return a name that MLflow takes: letters of other alphabets, brackets and the like are underscores."""
    return re.sub(r"[^A-Za-z0-9_. /-]", "_", text).strip("/ ")[:250]


def _data_set(facts: Mapping[str, Any]) -> Any:
    """Return the examples as MLflow's input. Its digest has room for half of the SHA-256; the tag has it whole."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [
        {
            "name": feature["name"],
            "type": COLUMN_TYPES.get(feature["kind"], "string"),
            "required": not feature["missing"],
        }
        for feature in facts["features"]
    ]
    label = {"name": facts["label"], "type": "string", "required": True}
    data_set = Dataset(
        name=facts["source"],
        digest=facts["source_digest"][:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"uri": facts["source"], "sha256": facts["source_digest"]}),
        schema=json.dumps({"mlflow_colspec": [*columns, label]}),
        profile=json.dumps({"num_rows": facts["rows_in"], "splits": facts["splits"]}),
    )
    return DatasetInput(data_set, [InputTag("mlflow.data.context", "training")])


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
