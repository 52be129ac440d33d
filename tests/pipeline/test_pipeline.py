from __future__ import annotations

from typing import Any

import pytest

from config.load import settings_hash
from config.settings import Settings

pytestmark = pytest.mark.slow  # TFX's import


def test_an_argument_more_keeps_the_runner_of_this_machine() -> None:
    from pipeline.pipeline import LOCAL_BEAM_ARGS, with_runner

    assert with_runner([]) == LOCAL_BEAM_ARGS
    assert with_runner(["--direct_num_workers=2"]) == [*LOCAL_BEAM_ARGS, "--direct_num_workers=2"]


def test_a_runner_named_gets_its_arguments_alone() -> None:
    from pipeline.pipeline import with_runner

    named = ["--runner=PortableRunner", "--job_endpoint=localhost:8099"]
    assert with_runner(named) == named


@pytest.mark.parametrize(
    "display",
    [
        {"title": "Toy"},
        {"description": "A toy."},
        {"class_names": {"a": "first"}},
        {"features": {"x": {"unit": "mm"}}},
        {"showcase": {"train_rows": 0}},
    ],
    ids=lambda display: next(iter(display)),
)
def test_what_only_people_see_does_not_make_another_model(display: dict[str, Any]) -> None:
    from pipeline.pipeline import _without_display

    plain = {"name": "toy", "data": {"source": "toy.csv", "label": "y", "classes": ["a", "b"]}}
    told = Settings.model_validate(plain | display)
    assert told != Settings.model_validate(plain)
    assert _without_display(told) == _without_display(Settings.model_validate(plain))
    assert settings_hash(_without_display(told)) == settings_hash(_without_display(Settings.model_validate(plain)))
