from __future__ import annotations

import os
import subprocess
import sys

from pydantic import BaseModel

from config.reference import MISTAKES, flow, keys, markdown
from config.settings import Settings
from tests.support.paths import ROOT


def test_document_is_current() -> None:
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert document == markdown(), "run: python -m config.reference > docs/configuration.md"


def test_module_prints_the_document() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.reference"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode("utf-8") == markdown()


def test_every_key_is_described() -> None:
    described = keys()
    for name, field in Settings.model_fields.items():
        key = field.alias or name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for inner in field.annotation.model_fields:
                assert any(path.startswith(f"{key}.{inner}") for path in described), f"{key}.{inner}"
        else:
            assert any(path == key or path.startswith(f"{key}.") for path in described), key
    assert all(key.description and key.wanted for key in described.values())


def test_ranges_and_defaults_are_in_words() -> None:
    described = keys()
    assert described["model.dropout"].range_and_default == "number ≥ 0 and < 1; default 0.3"
    assert described["data.label"].range_and_default == "text; must be given"
    assert described["evaluation.thresholds"].default == "{}"
    assert described["features.<column>.unit"].default == "none"


def test_each_planted_mistake_is_refused_and_shown() -> None:
    assert markdown().count("```text\n") == len(MISTAKES)


def test_flow_quotes_what_yaml_would_misread() -> None:
    assert flow(["no", "1", "B", "", 1, 1e-4, True]) == "['no', '1', B, '', 1, 0.0001, true]"
    assert flow({"a: b": "x"}) == "{'a: b': x}"
