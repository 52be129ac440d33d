"""How pages write numbers, shares, times and names."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from common.text import counted
from webapp.models.catalog import Field, prettified

SIGNIFICANT_DIGITS = 4
HINT_DIGITS = 3
NEARLY_ALL = 0.9995  # would be rounded to 100.0 %
ALMOST_ZERO = 1e-9


def number(value: float, digits: int = SIGNIFICANT_DIGITS) -> str:
    """Return a number with so many significant digits, but whole ones whole, such as 12,345 or 0.1187."""
    rounded = float(f"{value:.{digits}g}") if abs(value) < 10**digits else round(value)
    if rounded and not 1e-4 <= abs(rounded) < 1e9:
        return f"{value:.{digits}g}"
    return f"{rounded + 0.0:,.10f}".rstrip("0").rstrip(".")


def short(value: float) -> str:
    """Return a number in four digits, large ones with k or M: for the axes of charts."""
    for limit, step, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if limit <= abs(value) < 1e9:
            return number(value / step) + letter
    return number(value)


def seen_range(field: Field) -> str:
    """Return from where to where the training data reach, and their median; nothing for text and codes."""
    bounds = (field.stats.minimum, field.stats.maximum, field.stats.median)
    low, high, median = (None if each is None else number(each, HINT_DIGITS) for each in bounds)
    if low is None or high is None:
        return ""
    return f"{low} – {high} · {median}" if median else f"{low} – {high}"


def percent(share: float) -> str:
    """Return a share with one decimal; what is not quite all or nothing is not written as if it were."""
    if NEARLY_ALL <= share < 1:
        return "> 99.9%"
    return "< 0.1%" if 0 < share < 1 - NEARLY_ALL else f"{share:.1%}"


def probability(value: float) -> str:
    """Return a model's probability as `percent` does; in float32 it may be 1, and certain it is never."""
    return percent(min(max(value, ALMOST_ZERO), 1 - ALMOST_ZERO))


def points(effect: float, digits: int = 1) -> str:
    """Return a difference of two probabilities, signed, in percentage points."""
    rounded = round(100 * effect, digits)
    sign = "−" if rounded < 0 else "+" if rounded else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def signed(difference: float) -> str:
    text = number(abs(difference), HINT_DIGITS)
    return text if text == "0" else f"{'−' if difference < 0 else '+'}{text}"


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def moment(time: datetime | str) -> Markup:
    """Return a time, or ISO 8601 text of one, in UTC; the pages' script tells it in the reader's zone instead."""
    utc = (datetime.fromisoformat(time) if isinstance(time, str) else time).astimezone(timezone.utc)
    text = f"{utc.day} {utc:%b %Y, %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", text, text)


def value(raw: Any) -> str:
    """Return a feature's value for reading: numbers as `number` does, a dash where it is missing."""
    if raw is None or raw == "":
        return "–"
    return number(raw) if isinstance(raw, int | float) else str(raw)


def change(what: str) -> str:
    """Return what the release log calls a change; what is not known, as it is."""
    kind, _space, share = what.partition(" ")
    names = {
        "first": "first release",
        "replace": "replacement",
        "promote": "made stable",
        "rollback": "rolled back",
        "canary": "canary",
    }
    return f"{names.get(kind, kind)} {share}".strip()


FILTERS = {
    "number": number,
    "counted": counted,
    "range": seen_range,
    "percent": percent,
    "probability": probability,
    "points": points,
    "signed": signed,
    "called": lambda label, model_version: model_version.called(label),
    "words": prettified,
    "sentence": sentence,
    "moment": moment,
    "value": value,
    "change": change,
}
