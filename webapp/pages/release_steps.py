"""A change of what is released before it is made: what it would do, for the page that asks whether it is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import DataError
from common.text import with_point
from serving.release.state import State

WHATS = ("promote", "canary", "rollback")


@dataclass(frozen=True)
class Step:
    """What is asked for. `before` is None as long as nothing is released."""

    what: str  # one of WHATS
    before: State | None
    version: int | None = None
    weight_percent: float = 0.0

    @property
    def title(self) -> str:
        if self.what == "promote":
            return f"Make version {self.version} stable"
        if self.what == "rollback":
            return "Roll back"
        if not self.weight_percent:
            return "End the canary"
        return f"Try version {self.version} as a canary"

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """What would change: its name, what it is now, what it would be then."""
        stable, candidate = self._after
        now = (self._stable, self._candidate)
        named = zip(("Answers most requests (stable)", "On trial (candidate)"), now, (stable, candidate), strict=True)
        return [(name, before, after) for name, before, after in named if before != after]

    @property
    def consequences(self) -> list[str]:
        if self.what == "promote":
            return [
                "The version is loaded and must give its golden answers first; until then nothing changes.",
                "The version that is stable now stays loaded, so that you can roll back at once.",
            ]
        if self.what == "canary" and self.weight_percent:
            return [
                "The version is loaded and must give its golden answers first; until then nothing changes.",
                "Predictions say which version made them.",
            ]
        return ["The version that is left is unloaded; it stays on the disk and can be promoted again."]

    @property
    def _stable(self) -> str:
        return _version(self.before.stable if self.before else None)

    @property
    def _candidate(self) -> str:
        return _trial(self.before.candidate, self.before.weight_percent) if self.before else _trial(None, 0)

    @property
    def _after(self) -> tuple[str, str]:
        if self.what == "promote":
            return _version(self.version), _trial(None, 0)
        if self.what == "canary":
            return self._stable, _trial(self.version if self.weight_percent else None, self.weight_percent)
        if self.before and not self.before.candidate:
            return _version(self.before.previous), self._candidate
        return self._stable, _trial(None, 0)


def read_step(what: str, form: Mapping[str, str], before: State | None) -> Step:
    """Return the step that a form or an address asks for. Raises DataError if there is no such step."""
    if what not in WHATS:
        raise DataError("there is no such change", got=repr(what[:40]), wanted=", ".join(WHATS))
    if what == "rollback":
        if before is None or not (before.candidate or before.previous):
            raise DataError("there is nothing to go back to", got=sentence(before) if before else None)
        return Step(what, before)
    weight = _number(form.get("weight", "0"), "share of the requests", 0, 100) if what == "canary" else 0.0
    if what == "canary" and not weight:
        return Step(what, before)
    return Step(what, before, int(_number(form.get("version", ""), "version", 1, 10**15, whole=True)), weight)


def seen(state: State | None) -> str:
    """Return what stands for a state in a form, to tell whether it is still the same when the form comes back."""
    return f"{state.stable}.{state.previous}.{state.candidate}.{state.weight_percent:g}" if state else "none"


def sentence(state: State) -> str:
    """Return what is released, in a sentence."""
    words = f"version {state.stable} is stable"
    if state.candidate:
        words += f", version {state.candidate} gets {state.weight_percent:g}% of the requests"
    if state.previous:
        words += f"; version {state.previous} is kept loaded for a rollback"
    return str(words)


def change_told(what: str) -> str:
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


def _number(text: str, name: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(with_point(text))
    except ValueError:
        value = -1
    if not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise DataError(f"this is no {name}", got=repr(text[:40]), wanted=f"{kind} from {least} to {most}")
    return value


def _version(number: int | None) -> str:
    return f"version {number}" if number else "none"


def _trial(number: int | None, weight_percent: float) -> str:
    if not number:
        return "none"
    return f"version {number}, {weight_percent:g}% of the requests"
