"""Whatever happens to releases, the stable label answers, and no command needs a repair by hand.

Hypothesis chooses the steps. Each is made on real processes: a model server, and release commands that are killed in
the middle. The seed is fixed; the steps made are printed (`pytest -s`) and stand in the message of a failure.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from serving.client.errors import ModelNotFound
from serving.client.grpc import GrpcClient
from serving.client.types import VersionSpec
from serving.launch.backends import free
from serving.launch.launcher import Start, launch
from serving.release.checks import is_vouched
from serving.release.servers import Plan, make_config, recorded
from serving.release.state import CONFIG, DONE, HOLDER, LOG, STATE, State, Store
from serving.release.transaction import STEPS
from serving.repository.layout import MANIFEST, versions
from serving.repository.manifest import GateVerdict
from tests.support.serving.fakes import eventually
from tests.support.serving.releaser import Outcome, Releaser
from tests.support.serving.versions import BLESSED, copy_version, tiny_model, unloadable, wrong_golden

SEED = 20261130
BYSTANDER = "bystander"
WEIGHTS = {  # of a deck: when each card has been played it begins anew, so that shares hold with any seed
    "promote": 4,
    "rollback": 2,
    "canary": 3,
    "push": 2,
    "remove": 2,
    "damage": 5,
    "kill": 8,
    "restart": 5,
    "reload": 2,
}
KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
SPOILT: dict[str, Callable[[Path, Path, int], Path]] = {
    "wrong answers": lambda tiny, base, number: copy_version(tiny, base, number, wrong_golden),
    "does not load": lambda tiny, base, number: copy_version(tiny, base, number, unloadable),
    "not blessed": lambda tiny, base, number: copy_version(
        tiny, base, number, verdicts=BLESSED | {"serving": GateVerdict(False, "Loaded in 0.3 s.")}
    ),
}
FILES = (STATE, LOG, f"../{CONFIG}", f"../{HOLDER}")


class Stage:
    """A served folder, its server, and what releases on it. It outlives the machines, one of which is run at a time."""

    def __init__(self, folder: Path) -> None:
        self.root, self.counts = folder / "serving", Counter[str]()
        self.machines = self.idle_machine = 0
        self.tiny = tiny_model(folder / "tiny")
        self.ports = free(2)
        copy_version(self.tiny, self.root / BYSTANDER, 1)
        self.server = ExitStack()
        self.start()
        self.client = GrpcClient(self.running.addresses.grpc)
        self.releaser = Releaser(self.root, self.running.addresses.grpc)

    def start(self) -> None:
        self.running = self.server.enter_context(launch(Start(self.root, *self.ports)))

    def restart(self, kills: bool) -> None:
        if kills:
            self.running.process.kill()
        self.server.close()
        self.start()

    def close(self) -> None:
        with self.server, closing(self.client), closing(self.releaser):
            pass


class Releases(RuleBasedStateMachine):
    """One model, and what may happen to it. `stage` is set by the test."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.stage.machines += 1
        # Hypothesis begins with the simplest run: the same kind of step all over
        self.is_idle = self.stage.machines == self.stage.idle_machine
        self.model = f"model_{self.stage.machines}"
        self.base = self.stage.root / self.model
        self.sound: set[int] = set()  # what may be served
        self.newest = 0
        self.steps: list[str] = []
        self.deck = list(KINDS)
        if not self.is_idle:
            self.push(None)
            assert self.stage.releaser.run("promote", self.model).state == State(1)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        if self.is_idle:
            return
        kind = data.draw(st.sampled_from(self.deck))
        self.deck.remove(kind)
        self.deck = self.deck or list(KINDS)
        was_right = self.answers_rightly()
        self.steps.append(f"{kind}: {getattr(self, f'make_{kind}')(data)}")
        self.stage.counts[kind] += 1
        trail = "\n".join(self.steps)
        is_right = self.answers_rightly()
        if kind == "restart" or (was_right and kind not in ("remove", "reload")):
            assert is_right, f"the stable label does not answer any more:\n{trail}"
        if not is_right:
            record = recorded(self.stage.root, self.model)
            stable = record.wanted.stable if record and self.is_sound(record.wanted.stable) else max(self.present())
            outcome = self.stage.releaser.run("promote", self.model, stable)
            assert outcome.state, f"promote {stable} does not repair it: {outcome.error}\n{trail}"
            assert self.label() == stable, trail
        assert self.label(BYSTANDER) == 1, f"another model is in trouble:\n{trail}"

    def make_promote(self, data: st.DataObject) -> str:
        return self.command(data, "promote", *self.some_version(data))

    def make_rollback(self, data: st.DataObject) -> str:
        return self.command(data, "rollback")

    def make_canary(self, data: st.DataObject) -> str:
        return self.command(data, "canary", data.draw(st.sampled_from([0, 10, 100])), *self.some_version(data))

    def make_kill(self, data: st.DataObject) -> str:
        """Have a command that goes through killed on its way."""
        record = recorded(self.stage.root, self.model)
        choices = [("promote", self.push(None)), ("canary", 10, self.newest)]
        if record and record.wanted.previous in self.present() and not record.intent:
            choices.append(("rollback",))
        command = data.draw(st.sampled_from(choices))
        step = data.draw(st.sampled_from(STEPS))
        outcome = self.run(*command, die_at=step)
        assert outcome.is_killed, f"{command} went on after {step}: {outcome}"
        return f"{command} after {step}"

    def make_push(self, data: st.DataObject) -> str:
        kind = data.draw(st.sampled_from([None, None, None, *SPOILT]))
        return f"{self.push(kind)}, {kind or 'sound'}"

    def make_remove(self, data: st.DataObject) -> str:
        number = data.draw(st.sampled_from(versions(self.base)))
        if not self.spare(number):
            return f"nothing, instead pushed {self.push(None)}"
        shutil.rmtree(self.base / str(number))
        eventually(lambda: number not in self.available())  # the server looks once a second
        return str(number)

    def make_damage(self, data: st.DataObject) -> str:
        name = data.draw(st.sampled_from([*FILES, "manifest", "graph", "stray"]))
        if name == "stray":
            (self.base / "20261129213046123456").mkdir(exist_ok=True)
        elif name in FILES:
            self.damage_file(self.base / name, data.draw(st.sampled_from(["gone", "half", "other"])))
        else:
            number = data.draw(st.sampled_from(versions(self.base)))
            if not self.spare(number):
                return f"nothing, instead pushed {self.push(None)}"
            (self.base / str(number) / (MANIFEST if name == "manifest" else "saved_model.pb")).write_text("{}")
            name = f"{name} of {number}"
        return name

    def make_restart(self, data: st.DataObject) -> str:
        kills = data.draw(st.booleans())
        self.stage.restart(kills)
        return "killed" if kills else "asked to end"

    def make_reload(self, data: st.DataObject) -> str:
        """Give the server a config that is none of ours."""
        available = sorted(self.available() & self.present())
        number = data.draw(st.sampled_from(available)) if available else None
        labels = data.draw(st.sampled_from([{}, {"stable": number}, {"candidate": number}])) if number else {}
        plan = Plan((number,), labels) if number else None
        self.stage.client.reload_config(make_config(self.stage.root, {self.model: plan}))
        return f"{number} as {list(labels)}"

    def command(self, data: st.DataObject, command: str, *arguments: Any) -> str:
        outcome = self.run(command, *arguments)
        assert outcome.exit_code in (0, 3, 4), f"{command} {arguments}: {outcome}\n" + "\n".join(self.steps)
        return f"{arguments} → {outcome.state or outcome.error.splitlines()[0]}"

    def run(self, command: str, *arguments: Any, die_at: str = "") -> Outcome:
        return self.stage.releaser.run(command, self.model, *arguments, die_at=die_at)

    def some_version(self, data: st.DataObject) -> list[int]:
        return data.draw(st.sampled_from([[], *([number] for number in range(1, self.newest + 1))]))

    def push(self, kind: str | None) -> int:
        self.newest += 1
        if kind:
            SPOILT[kind](self.stage.tiny, self.base, self.newest)
        else:
            copy_version(self.stage.tiny, self.base, self.newest)
            self.sound.add(self.newest)
        return self.newest

    def damage_file(self, path: Path, how: str) -> None:
        """Spoil a file, unless nothing would be left that tells what is released."""
        before = path.read_bytes() if path.exists() else None
        if how == "gone":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes((before or b"")[: len(before or b"") // 2] if how == "half" else b'{"state": 1}')
        record = recorded(self.stage.root, self.model)
        if before is not None and not (record and self.is_sound(record.wanted.stable)):
            path.write_bytes(before)

    def spare(self, number: int) -> bool:
        """Whether a version can go, and one that was stable before is left."""
        record, history = recorded(self.stage.root, self.model), Store(self.stage.root, self.model).history()
        stables = {entry.after.stable for entry in history if entry.outcome == DONE}
        if record:
            stables |= {record.state.stable, record.wanted.stable}
        return any(self.is_sound(other) for other in stables - {number})

    def is_sound(self, number: int) -> bool:
        return number in self.sound and is_vouched(self.base, number)

    def present(self) -> set[int]:
        return {number for number in versions(self.base) if self.is_sound(number)}

    def available(self) -> set[int]:
        try:
            return {status.version for status in self.stage.client.status(self.model) if status.state == "AVAILABLE"}
        except ModelNotFound:
            return set()

    def label(self, model: str = "") -> int | None:
        try:
            return self.stage.client.metadata(model or self.model, VersionSpec(label="stable")).version
        except ModelNotFound:
            return None

    def answers_rightly(self) -> bool:
        """Whether a version answers by the label that was vouched for when it was loaded."""
        return self.label() in self.sound


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with closing(Stage(tmp_path_factory.mktemp("stateful"))) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machines", "steps"), [pytest.param(1, 40, id="40"), pytest.param(10, 50, id="500", marks=pytest.mark.exhaustive)]
)
def test_whatever_happens_the_stable_label_answers(stage: Stage, machines: int, steps: int) -> None:
    stage.counts.clear()
    stage.idle_machine = stage.machines + 1
    Releases.stage = stage
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        seed(SEED)(Releases),
        settings=settings(
            max_examples=machines + 1,
            stateful_step_count=steps,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    total = stage.counts.total()
    print(f"\nseed {SEED}, {total} steps: {json.dumps(stage.counts)}")
    assert total >= 0.9 * machines * steps
    for kind, share in {"kill": 0.15, "restart": 0.10, "damage": 0.10}.items():
        assert stage.counts[kind] >= share * total, kind
