"""The model card: what a model is for, what it is not, what it showed, in Hugging Face's form.

Source: Mitchell et al. 2019; https://huggingface.co/docs/hub/model-cards (YAML head, then Markdown).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from common.errors import ConfigError
from components.evaluation.bounds import Metric
from components.report.facts import Facts


def render_card(facts: Facts) -> str:
    """Return the card. Raises ConfigError naming what is empty: a card with holes vouches for nothing."""
    body = sections(facts)
    empty = [title for title, text in {**body, "name": facts.name, "run id": facts.run_id}.items() if not text.strip()]
    if empty:
        raise ConfigError(
            "the model card is not complete",
            got=f"nothing for {', '.join(empty)}",
            wanted="text in every section",
            fix="fill `title` and `description` in pipeline.yaml and run again",
        )
    head = yaml.safe_dump(_head(facts), sort_keys=False, allow_unicode=True)
    text = "\n".join(f"\n## {title}\n\n{content}" for title, content in body.items())
    return f"---\n{head}---\n\n# {_plain(facts.name)}\n{text}\n"


def sections(facts: Facts) -> dict[str, str]:
    """Return the sections by title, in order."""
    return {
        "Verdict": _verdict(facts),
        "Intended use": _intended_use(facts),
        "Out of scope": _out_of_scope(facts),
        "Data": _data(facts),
        "Metrics": _metrics(facts),
        "Operating point": _operating_point(facts),
        "Compared with plain models": _baselines(facts),
        "Training": _training(facts),
        "Ethical considerations and limitations": _limitations(facts),
        "How to reproduce": _reproduce(facts),
    }


def _head(facts: Facts) -> dict[str, Any]:
    metrics = [
        {"type": metric.name, "name": metric.title, "value": round(metric.value, 6)}
        for metric in facts.metrics
        if math.isfinite(metric.value)
    ]
    return {
        "library_name": "tf",
        "pipeline_tag": "tabular-classification",
        "tags": ["tabular-classification", "tfx", "tensorflow-serving"],
        "model_name": facts.model,
        "model-index": [
            {
                "name": facts.model,
                "results": [
                    {
                        "task": {"type": "tabular-classification"},
                        "dataset": {
                            "type": facts.source,
                            "name": facts.source,
                            "split": "test",
                            "revision": facts.source_digest,
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _verdict(facts: Facts) -> str:
    reasons = "\n".join(f"- {v.gate.capitalize()} gate: {_plain(v.sentence)}" for v in facts.verdicts)
    return f"**{facts.headline}** by run `{facts.run_id}`.\n\n{reasons}".strip()


def _intended_use(facts: Facts) -> str:
    purpose = (
        _plain(facts.description)
        if facts.description.strip()
        else ("*The owner has not said for whom it is: `description` in `pipeline.yaml` is the place.*")
    )
    classes = ", ".join(f"`{name}`" for name in facts.classes)
    return (
        f"{purpose}\n\nIt reads the {len(facts.features)} features below and gives a probability for each value of "
        f"`{facts.label}`: {classes}. It is meant to support a decision, not to make it alone."
    )


def _out_of_scope(facts: Facts) -> str:
    return (
        "- Rows unlike those it was trained on: other sources, instruments, populations or times, unless tested anew.\n"
        "- Values outside the ranges below, or rows in which a required feature is missing.\n"
        "- Causes: a feature that matters to the score need not matter to the outcome.\n"
        "- Any use that its description does not name."
    )


def _data(facts: Facts) -> str:
    by = f"`{_cell(facts.group_by)}`, whose rows stay together" if facts.group_by else "each row"
    header = ["Split", "Rows", *(_cell(name) for name in facts.classes)]
    rows = [[s.name, str(s.rows), *(str(s.class_counts.get(c, 0)) for c in facts.classes)] for s in facts.splits]
    features = [
        [f"`{_cell(f.name)}`", _cell(f.unit), f.kind, str(f.missing), *map(_brief, (f.minimum, f.mean, f.maximum))]
        for f in facts.features
    ]
    anomalies = f"{len(facts.anomalies)} anomalies were found" if facts.anomalies else "No anomaly was found"
    return (
        f"`{_cell(facts.source)}`, {facts.rows_in} rows (sha256 of their content `{facts.source_digest}`), split by a "
        f"hash of {by}. {anomalies} against the schema.\n\n{_table(header, rows)}\n\n"
        "Features, on the train split:\n\n"
        + _table(["Feature", "Unit", "Kind", "Missing", "Least", "Mean", "Most"], features)
    )


def _metrics(facts: Facts) -> str:
    rows = [[m.title, *(_number(v) for v in (m.value, m.lower, m.upper)), _brief(m.asked)] for m in facts.metrics]
    table = _table(["Metric", "Value", "At least", "At most", "Asked"], rows)
    text = (
        f"On {facts.test_rows} test rows that nothing was fitted or chosen on; each bound holds with "
        f"{100 * facts.confidence:g} % confidence.\n\n{table}"
    )
    if facts.slices:
        names = [m.title for m in facts.slices[0].metrics]
        slices = [[_cell(s.name), str(s.rows), *(_bounded(m) for m in s.metrics)] for s in facts.slices]
        text += f"\n\nBy slice:\n\n{_table(['Slice', 'Rows', *names], slices)}"
    return text


def _operating_point(facts: Facts) -> str:
    point = facts.operating_point
    if point is None:
        return "The most probable class is the answer; there is no threshold."
    fell_short = "" if point.eval_recall >= point.target_recall else " No threshold reached that recall."
    return (
        f"`{_cell(facts.positive or '')}` from a probability of {point.threshold:.4f}: of the thresholds that reach a "
        f"recall of {point.target_recall:g} on {point.eval_rows} eval rows, the most precise.{fell_short} On test it "
        f"shows a recall of {_number(point.recall)}, a precision of {_number(point.precision)} and a false-positive "
        f"rate of {_number(point.false_positive_rate)}."
    )


def _baselines(facts: Facts) -> str:
    if not facts.baselines:
        return "None could be fitted on these splits."
    rows = [["This network", *(_bounded(m) for m in facts.metrics)]]
    rows += [[b.name, *(_bounded(m) for m in b.metrics)] for b in facts.baselines]
    return f"{facts.comparison}\n\n" + _table(["Model", *(m.title for m in facts.metrics)], rows)


def _training(facts: Facts) -> str:
    widths = "-".join(map(str, facts.network.saved))
    values = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.training.items())
    tuned = f" Found by the tuner: {_mapping(facts.network.tuned)}." if facts.network.tuned else ""
    return (
        f"Dense layers {widths} ({facts.network.parameters} parameters), {facts.history.epochs} epochs, weights of "
        f"epoch {facts.history.kept_epoch} (least loss on eval). Settings: {values}; seed {facts.seed}.{tuned}"
    )


def _limitations(facts: Facts) -> str:
    test = next((s for s in facts.splits if s.name == "test"), None)
    counts = dict(test.class_counts) if test else {}
    rarest = min(counts, key=lambda name: counts[name]) if counts else None
    lines = [
        f"- {facts.test_rows} test rows bound what can be known: read the bounds, not the values.",
        "- Test rows come from the same source as the training rows: performance elsewhere is not known.",
        "- Slices tell of groups only where the data name them; "
        + (
            "these were looked at: " + ", ".join(_cell(s.name) for s in facts.slices) + "."
            if facts.slices
            else "none was looked at, so fairness between groups is not known."
        ),
        "- Drift is watched against the training statistics that travel with the model; retrain when it is reported.",
    ]
    if rarest is not None:
        lines.insert(1, f"- The rarest class in test, `{_cell(rarest)}`, has {counts[rarest]} rows.")
    lines += [f"- {_plain(override)}" for override in facts.overrides]
    return "\n".join(lines)


def _reproduce(facts: Facts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.environment.items())
    return (
        f"`python local_runner.py run config/{facts.model}` on the same data and settings (settings hash "
        f"`{facts.settings_hash}`, data digest above, seed {facts.seed}) gives the same model. Environment: {versions}."
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bounded(metric: Metric) -> str:
    return f"{_number(metric.value)} ({_number(metric.lower)}–{_number(metric.upper)})"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _brief(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _mapping(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _plain(text: str) -> str:
    """Return text that cannot turn into HTML in a Markdown page."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    """Return text that stays within its table cell or code span."""
    return _plain(text).replace("|", "\\|").replace("\n", " ").replace("`", "'")
