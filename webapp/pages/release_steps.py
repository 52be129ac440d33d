"""A change of what is released before it is made: what it would do, for the page that asks whether it is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask_babel import gettext as _

from common.errors import DataError
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
        """What it is called."""
        if self.what == "promote":
            return str(_("Make version %(number)s stable", number=self.version))
        if self.what == "rollback":
            return str(_("Roll back"))
        if not self.weight_percent:
            return str(_("End the canary"))
        return str(_("Try version %(number)s as a canary", number=self.version))

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """What would change: its name, what it is now, what it would be then."""
        stable, candidate = self._after
        now = (self._stable, self._candidate)
        named = zip(
            (_("Answers most requests (stable)"), _("On trial (candidate)")), now, (stable, candidate), strict=True
        )
        return [(name, before, after) for name, before, after in named if before != after]

    @property
    def consequences(self) -> list[str]:
        """What else there is to know."""
        if self.what == "promote":
            return [
                _("The version is loaded and must give its golden answers first; until then nothing changes."),
                _("The version that is stable now stays loaded, so that you can roll back at once."),
            ]
        if self.what == "canary" and self.weight_percent:
            return [
                _("The version is loaded and must give its golden answers first; until then nothing changes."),
                _("Predictions say which version made them."),
            ]
        return [_("The version that is left is unloaded; it stays on the disk and can be promoted again.")]

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


def read_step(what: str, given: Mapping[str, str], before: State | None) -> Step:
    """Return the step that a form or an address asks for. Raises DataError in words if that is none."""
    if what not in WHATS:
        raise DataError(_("there is no such change"), got=repr(what[:40]), wanted=", ".join(WHATS))
    if what == "rollback":
        if before is None or not (before.candidate or before.previous):
            raise DataError(_("there is nothing to go back to"), got=sentence(before) if before else None)
        return Step(what, before)
    weight = _number(given.get("weight", "0"), _("share of the requests"), 0, 100) if what == "canary" else 0.0
    if what == "canary" and not weight:
        return Step(what, before)
    return Step(what, before, int(_number(given.get("version", ""), _("version"), 1, 10**15, whole=True)), weight)


def seen(state: State | None) -> str:
    """Return what stands for a state in a form, to tell whether it is still the same when the form comes back."""
    return f"{state.stable}.{state.previous}.{state.candidate}.{state.weight_percent:g}" if state else "none"


def sentence(state: State) -> str:
    """Return what is released, in a sentence of the reader's language."""
    told = _("version %(number)s is stable", number=state.stable)
    if state.candidate:
        told += _(
            ", version %(number)s gets %(weight)s%% of the requests",
            number=state.candidate,
            weight=f"{state.weight_percent:g}",
        )
    if state.previous:
        told += _("; version %(number)s is kept loaded for a rollback", number=state.previous)
    return str(told)


def change_told(what: str) -> str:
    """Return what the release log calls a change, in the reader's language; what is not known as it is."""
    kind, _space, share = what.partition(" ")
    told = {
        "first": _("first release"),
        "replace": _("replacement"),
        "promote": _("made stable"),
        "rollback": _("rolled back"),
        "canary": _("canary"),
    }
    return f"{told.get(kind, kind)} {share}".strip()


def _number(text: str, name: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = -1
    if not least <= value <= most:
        kind = _("a whole number") if whole else _("a number")
        raise DataError(
            _("this is no %(name)s", name=name),
            got=repr(text[:40]),
            wanted=_("%(kind)s from %(least)s to %(most)s", kind=kind, least=least, most=most),
        )
    return value


def _version(number: int | None) -> str:
    return str(_("version %(number)s", number=number) if number else _("none"))


def _trial(number: int | None, weight_percent: float) -> str:
    if not number:
        return str(_("none"))
    return str(_("version %(number)s, %(weight)s%% of the requests", number=number, weight=f"{weight_percent:g}"))
