"""What the Evaluator answered: metrics by slice, and the evaluation gate's verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from common.text import shortened
from components.evaluation.baselines import Baseline, best_of
from components.evaluation.bounds import Metric, evaluate
from components.evaluation.calibration import CALIBRATED_AT_MOST, calibration_on_test
from components.evaluation.comparison import Comparison
from components.evaluation.looks import Looks
from components.evaluation.tfma_config import EXAMPLE_COUNT, GROUP_COUNT, LOWER, UPPER
from components.tasks import Task, task_of
from components.tasks.operating_point import decide
from components.tasks.rows import Answered, NumberRows, Rows
from components.verdict import Finding, Severity, Verdict
from config.gate_settings import LOSSES, EvaluationSettings
from config.settings import Settings

OVERALL = "overall"
CENTRAL = 0.99  # of the counts that intervals which keep their promise come to
REDRAWS = 20_000
SUMMED_UP = ("THRESHOLD_MET", "NOT_WORSE_THAN_BLESSED", "NO_BLESSED_MODEL", "NOT_COMPARABLE", "AS_GOOD_AS_PLAIN_MODELS")


@dataclass(frozen=True)
class SliceMetrics:
    """The metrics of one slice: `values[metric] = (value, lower, upper)`.

    `groups`: how many its rows are of, None if each is its own.
    """

    name: str
    rows: int
    groups: int | None
    values: dict[str, tuple[float, float, float]]

    @property
    def size(self) -> str:
        """What the slice holds, in words: grouped rows say less than they are."""
        return f"{self.rows} rows" if self.groups is None else f"{self.rows} rows of {self.groups} groups"


def read_metrics(evaluation_uri: str) -> list[SliceMetrics]:
    """Return the candidate's metrics by slice, the whole test split first."""
    result = tfma.load_eval_result(evaluation_uri)
    slices = []
    for slice_key, outputs in result.slicing_metrics:
        values = {name: _number(value) for name, value in outputs[""][""].items()}
        names = [name for name in values if name + LOWER in values]
        title = ", ".join(f"{column} = {value}" for column, value in slice_key) or OVERALL
        triples = {name: (values[name], values[name + LOWER], values[name + UPPER]) for name in names}
        groups = int(values[GROUP_COUNT]) if GROUP_COUNT in values else None
        slices.append(SliceMetrics(title, int(values[EXAMPLE_COUNT]), groups, triples))
    return sorted(slices, key=lambda s: (s.name != OVERALL, s.name))


def judge(
    parts: Sequence[SliceMetrics],
    rows: Answered,
    comparison: Comparison,
    baselines: Sequence[Baseline],
    point: Mapping[str, Any] | None,
    settings: Settings,
    looks: Looks,
    intervals: Mapping[str, Any] | None = None,
) -> Verdict:
    """Return the evaluation gate's verdict.

    It is on the metrics of the test split and its slices, `parts`, the whole first; on what the candidate says of the
    test `rows`, on the `comparison` with the models blessed before, and on plain models. `point`: the operating point
    and `intervals` as the training left them. `looks`: who was judged on these rows before, which what must be shown
    pays for.
    """
    if not parts or parts[0].name != OVERALL:
        sentence = "The test split holds no rows, so the model could not be evaluated."
        return Verdict("evaluation", False, sentence, (Finding("NO_TEST_ROWS", "error", sentence),))
    wanted, overall = settings.evaluation, parts[0]
    spent = wanted.model_copy(update={"confidence": looks.confidence(wanted.confidence)})
    flawless, task = _flawless(rows, spent, settings.seed), task_of(settings.data)
    alike = _alike(rows, task)
    findings = [
        _against_threshold(overall, *asked, spent, alike, baselines, flawless) for asked in wanted.thresholds.items()
    ]
    findings += _against_slice_thresholds(parts[1:], spent)
    findings += [_against_blessed(comparison, wanted), _against_chance(rows, task, spent, settings.seed, alike)]
    if untested := _without_rows(rows, task):
        sentence = f"{alike} in test: nothing is known of that, and averages are over the other classes."
        findings.append(Finding("CLASS_NOT_TESTED", "warn", sentence, details={"classes": untested}))
    findings += _against_plain_models(baselines, wanted)
    if isinstance(rows, Rows):
        findings += _at_operating_point(rows, point, settings)
        findings += _calibration(rows, settings)
    elif isinstance(rows, NumberRows) and intervals:
        findings.append(_coverage(rows, intervals, settings.seed))
    findings += filter(None, [looks.finding(wanted.confidence)])
    failed = [finding for finding in findings if finding.severity == "error"]
    if failed:
        sentence = "Not blessed: " + " ".join(f.sentence for f in failed)
    else:
        least = "; ".join(f.sentence.removesuffix(".") for f in findings if f.kind in SUMMED_UP)
        sentence = f"Blessed on {overall.size.replace(' rows', ' test rows')}: {least}."
    return Verdict("evaluation", not failed, sentence, tuple(findings))


# --- thresholds


def _against_threshold(
    part: SliceMetrics,
    metric: str,
    asked: float,
    wanted: EvaluationSettings,
    alike: str,
    baselines: Sequence[Baseline] = (),
    flawless: Mapping[str, Metric] | None = None,
) -> Finding:
    value, lower, upper = part.values.get(metric, (math.nan,) * 3)
    details = {"metric": metric, "value": value, "lower": lower, "upper": upper, "least": asked}
    bound, word, sign = (upper, "most", "≤") if metric in LOSSES else (lower, "least", "≥")
    surely = _surely(wanted)
    if Metric(metric, value, lower, upper, asked).is_met:
        sentence = f"{metric} is {value:.4f}, and {surely} at {word} {bound:.4f} {sign} {asked:g}."
        return Finding("THRESHOLD_MET", "info", sentence, details=details)
    if math.isnan(value):
        sentence = f"{metric} is undefined on these {part.size}, because {alike}, and {asked:g} is asked for."
        return Finding("THRESHOLD_MISSED", "error", sentence, details=details)
    sentence = (
        f"{metric} is {value:.4f} on {part.size}, but {surely} only at {word} {bound:.4f}, and {asked:g} is asked for."
    )
    advice = _advice(metric, asked, baselines, flawless or {})
    return Finding("THRESHOLD_MISSED", "error", f"{sentence} {advice}".rstrip(), details=details)


def _without_rows(rows: Answered, task: Task) -> list[str]:
    """Return the classes of which there is no test row."""
    return [name for index, name in enumerate(task.classes) if index not in rows.true]


def _alike(rows: Answered, task: Task) -> str:
    """Say why a metric of the test rows is undefined, where one is."""
    if untested := _without_rows(rows, task):
        return f"no row is of class {shortened(untested)}"
    return "answers are no numbers" if task.classes else "all labels are the same"


def _flawless(rows: Answered, wanted: EvaluationSettings, seed: int) -> dict[str, Metric]:
    """Return what these rows could vouch for at most: the metrics of a model that makes no mistake on them."""
    return evaluate(
        rows.flawless(),
        list(wanted.thresholds),
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=seed,
    )


def _advice(metric: str, asked: float, baselines: Sequence[Baseline], flawless: Mapping[str, Metric]) -> str:
    """Say what plain models reach, what the rows can vouch for at most, and the next step."""
    most = flawless.get(metric)
    if most is not None and not replace(most, asked=asked).is_met:
        bound = most.upper if metric in LOSSES else most.lower
        return f"These rows can vouch for {bound:.4f} at best: ask for less, or bring more test rows."
    plain, reached = best_of(baselines), None
    if plain is None or (reached := plain.metric(metric)) is None or math.isnan(reached.value):
        return ""
    bound = reached.upper if metric in LOSSES else reached.lower
    said = f"{plain.name} reaches {reached.value:.4f} ({bound:.4f} surely)"
    if replace(reached, asked=asked).is_met:
        return f"{said}: the data allow it, so train longer or otherwise."
    return f"{said}: ask for less, or bring more rows or better columns."


def _against_slice_thresholds(slices: Sequence[SliceMetrics], wanted: EvaluationSettings) -> Iterator[Finding]:
    """Hold each slice against the thresholds of its own; a value without test rows cannot be vouched for."""
    known = {part.name: part for part in slices}
    for asked in wanted.slices:
        if not asked.thresholds:
            continue
        titles = [f"{asked.feature} = {value}" for value in asked.values]
        titles = titles or [title for title in known if title.startswith(f"{asked.feature} = ")]
        for title in titles:
            part = known.get(title) or SliceMetrics(title, 0, None, {})
            for metric, least in asked.thresholds.items():
                found = _against_threshold(part, metric, least, wanted, "a class has none")
                said = (found.severity, f"where {title}: {found.sentence}", None, found.details | {"slice": title})
                is_met = found.severity == "info"
                yield Finding("SLICE_THRESHOLD_MET", *said) if is_met else Finding("SLICE_THRESHOLD_MISSED", *said)


# --- other models


def _against_blessed(comparison: Comparison, wanted: EvaluationSettings) -> Finding:
    """Say how the candidate compares with the best blessed model, on the same rows; no obstacle is passed over."""
    metric, margin, found = wanted.change_metric, wanted.change_margin, comparison.difference
    details: dict[str, Any] = {"metric": metric, "margin": margin, "rows": comparison.rows}
    if found is None and not comparison.obstacles:
        sentence = "there is no blessed model to compare with yet."
        return Finding("NO_BLESSED_MODEL", "info", sentence, details=details)
    if found is None:
        refuses = wanted.when_not_comparable == "refuse"
        sentence = f"no blessed model can be compared fairly: {'; '.join(comparison.obstacles)}. " + (
            "evaluation.when_not_comparable refuses that." if refuses else "All else decides."
        )
        details["obstacles"] = list(comparison.obstacles)
        return Finding("NOT_COMPARABLE", "error" if refuses else "warn", sentence, details=details)
    details |= {
        "difference": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "detectable": comparison.detectable,
        "baseline": comparison.baseline,
        "baseline_metrics": [asdict(metric) for metric in comparison.baseline_metrics],
    }
    surely = _surely(wanted)
    told = f"{metric} is {_gap(found.value)} than the best blessed model's on the same {comparison.rows} rows"
    if found.upper >= -margin:
        sentence = (
            f"{told}, {surely} {_gap(found.upper)} at best; these rows can tell a model that is worse by "
            f"{comparison.detectable:.4f}."
        )
        return Finding("NOT_WORSE_THAN_BLESSED", "info", sentence, details=details)
    sentence = f"{told}, {surely} {_gap(found.upper)} at best, and {margin:g} worse is allowed."
    return Finding("WORSE_THAN_BLESSED", "error", sentence, details=details)


def _gap(better_by: float) -> str:
    return f"{'better' if better_by >= 0 else 'worse'} by {abs(better_by):.4f}"


def _against_chance(rows: Answered, task: Task, wanted: EvaluationSettings, seed: int, alike: str) -> Finding:
    """A model must tell more of rows than a coin does, or their mean, whatever else is asked of it."""
    name, least = task.chance_metric, task.chance
    [shown] = evaluate(rows, [name], confidence=wanted.confidence, samples=wanted.bootstrap_samples, seed=seed).values()
    details = {"metric": name, "value": shown.value, "lower": shown.lower, "least": least}
    if shown.lower > least:
        sentence = f"{name} is {shown.value:.4f}, surely above {shown.lower:.4f}: better than chance."
        return Finding("BETTER_THAN_CHANCE", "info", sentence, details=details)
    if math.isnan(shown.value):
        sentence = f"nothing tells it from chance: {alike} among the {len(rows)} test rows."
    else:
        who = "always saying the mean has 0" if not task.classes else "a coin has 0.5"
        sentence = (
            f"{name} is {shown.value:.4f} on {len(rows)} rows, but surely only above {shown.lower:.4f}, and {who}: "
            "bring more test rows, or columns that say more."
        )
    return Finding("NO_BETTER_THAN_CHANCE", "error", sentence, details=details)


def _against_plain_models(baselines: Sequence[Baseline], wanted: EvaluationSettings) -> Iterator[Finding]:
    """Set the network beside the plain model that was best on eval, on the same test rows."""
    plain = best_of(baselines)
    if plain is None or plain.behind is None:
        return
    metric, margin, found = wanted.change_metric, wanted.plain_margin, plain.behind
    details = {"metric": metric, "plain_model": plain.name, "margin": margin, **asdict(found)}
    surely = _surely(wanted)
    told = (
        f"{metric} is {_gap(found.value)} than the best plain model's ({plain.name}) on the same "
        f"{plain.test_rows} rows, {surely} {_gap(found.upper)} at best"
    )
    if found.upper >= -margin:
        yield Finding("AS_GOOD_AS_PLAIN_MODELS", "info", f"{told}.", None, details)
        return
    severity: Severity = "error" if wanted.when_plain_is_better == "refuse" else "warn"
    sentence = (
        f"{told}, and {margin:g} worse is allowed: a plain model would "
        "serve better, so train longer or otherwise, or say evaluation.when_plain_is_better: warn."
    )
    yield Finding("PLAIN_MODEL_BETTER", severity, sentence, None, details)


# --- decisions and probabilities


def _at_operating_point(rows: Rows, point: Mapping[str, Any] | None, settings: Settings) -> Iterator[Finding]:
    """Say what test saw at the decision threshold, at 0.5, and of always calling the commonest class."""
    wanted, asked = settings.evaluation, settings.operating_point
    counts = np.bincount(rows.true, minlength=len(settings.data.classes))
    always = replace(rows, decided=np.full(len(rows), counts.argmax()))
    half = replace(rows, decided=decide(rows.probabilities, 0.5, rows.positive))
    seen = {
        name: evaluate(said, ["accuracy"], confidence=wanted.confidence, samples=2, seed=0)["accuracy"]
        for name, said in (("accuracy", rows), ("accuracy_at_half", half), ("accuracy_of_commonest", always))
    }
    details: dict[str, Any] = {name: metric.value for name, metric in seen.items()}
    commonest = settings.data.classes[int(counts.argmax())]
    sentence = f"accuracy is {seen['accuracy'].value:.4f}"
    if rows.positive is None or point is None:
        sentence += f"; always saying {commonest} has {seen['accuracy_of_commonest'].value:.4f}."
        yield Finding("OPERATING_POINT", "info", sentence, details=details)
        return
    sentence += (
        f" at the threshold {point['threshold']:.4f}, {seen['accuracy_at_half'].value:.4f} at 0.5; always saying "
        f"{commonest} has {seen['accuracy_of_commonest'].value:.4f}."
    )
    details |= {"threshold": point["threshold"], "objective": asked.objective}
    severity: Severity = "info"
    if asked.at_least is not None:
        name = asked.objective.removesuffix("_at_least")
        [share] = evaluate(rows, [name], confidence=wanted.confidence, samples=2, seed=0).values()
        details |= {"metric": name, "value": share.value, "lower": share.lower, "upper": share.upper}
        details |= {"at_least": asked.at_least, "vouched_on_eval": point.get("vouched")}
        missed = share.upper < asked.at_least
        severity = "warn" if missed else "info"
        sentence += (
            f" Asked was a {name} of {asked.at_least:g}; test saw {share.value:.4f}, surely between "
            f"{share.lower:.4f} and {share.upper:.4f}{': it is missed' if missed else ''}."
        )
    yield Finding("OPERATING_POINT", severity, sentence, details=details)


def _calibration(rows: Rows, settings: Settings) -> Iterator[Finding]:
    """Say how far probabilities lie from what was seen; only an upper bound may call them calibrated."""
    found = calibration_on_test(rows, confidence=settings.evaluation.confidence, seed=settings.seed)
    if found is None:
        return
    of = "the positive class" if rows.positive is not None else "the likeliest class"
    sentence = (
        f"the probability of {of} is off by {found.error:.4f} on the average of {found.bins} bins of the {found.rows} "
        f"test rows, surely by {found.error_at_most:.4f} at most; "
    )
    if found.is_calibrated:
        sentence += f"up to {CALIBRATED_AT_MOST:g} it may be called calibrated."
        yield Finding("CALIBRATED", "info", sentence, details=asdict(found))
        return
    sentence += f"it may be called calibrated up to {CALIBRATED_AT_MOST:g}."
    yield Finding("NOT_SHOWN_CALIBRATED", "info", sentence, details=asdict(found))


def _coverage(rows: NumberRows, intervals: Mapping[str, Any], seed: int) -> Finding:
    """Hold the share of test values inside their intervals against what was promised.

    How many of a bin's test rows a conformal interval covers follows a beta-binomial law, by the eval rows that it was
    made of (Vovk 2012): the count of all bins is told from what that law comes to in 99 of 100 draws.
    """
    promised, made_of = intervals["coverage"], intervals["rows"]
    member = np.searchsorted(np.asarray(intervals["edges"]), rows.decided, side="right")
    tested, rng = np.bincount(member, minlength=len(made_of)), np.random.default_rng(seed)
    drawn = np.zeros(REDRAWS, np.int64)
    for count, size in zip(tested.tolist(), made_of, strict=True):
        rank = min(math.ceil((size + 1) * promised), size)
        drawn += rng.binomial(count, rng.beta(max(rank, 1), max(size + 1 - rank, 1), REDRAWS))
    low, high = np.quantile(drawn, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2]) / max(len(rows), 1)
    seen = float(((rows.lower <= rows.true) & (rows.true <= rows.upper)).mean())
    width = float((rows.upper - rows.lower).mean())
    details = {"promised": promised, "seen": seen, "least": float(low), "most": float(high), "mean_width": width}
    sentence = (
        f"prediction intervals are {width:.4g} wide on the average and hold {seen:.1%} of the {len(rows)} test values; "
        f"{promised:.0%} was promised, which comes to {low:.1%} to {high:.1%} in 99 of 100 draws of rows"
    )
    if low <= seen <= high:
        return Finding("INTERVALS_HOLD", "info", f"{sentence}.", details=details)
    sentence += ": eval and test rows differ, or the model follows eval too closely."
    return Finding("INTERVALS_OFF", "warn", sentence, details=details)


def _surely(wanted: EvaluationSettings) -> str:
    return f"with {100 * wanted.confidence:.5g}% confidence"


def _number(value: Any) -> float:
    return float(value.get("doubleValue", value.get("boundedValue", {}).get("value", math.nan)))
