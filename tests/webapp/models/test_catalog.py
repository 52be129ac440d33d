from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from common.errors import DataError
from serving.client.errors import ModelNotFound
from serving.repository.layout import MANIFEST, SCHEMA, STATISTICS, TRAINING
from tests.support.web.models import Made, make_version
from webapp.models.catalog import Catalog, ModelNotNamed, NothingPushed, UnreadableVersion

NAMES = """name: cells
title: Cells
description: Tells malignant from benign.
data: {source: cells.csv, label: outcome, classes: [B, M], positive: M}
class_names: {B: benign, M: malignant}
features:
  radius: {name: Radius of the nucleus, unit: µm, group: Size, description: From the centre outwards.}
"""


@pytest.fixture
def catalog(webapp_root: Path, tmp_path: Path) -> Catalog:
    return Catalog(webapp_root / "serving", tmp_path)


def test_a_card_says_what_the_version_takes_and_gives(catalog: Catalog) -> None:
    model_version = catalog.model_version("patients", 1)
    assert [(f.name, f.kind, f.dtype, f.required) for f in model_version.fields] == [
        ("age", "numeric", "int", True),
        ("pressure", "numeric", "float", True),
        ("cholesterol", "numeric", "float", False),
        ("smoker", "categorical", "string", True),
        ("city", "categorical", "string", True),
        ("ward", "categorical", "int", True),
    ]
    assert (model_version.label, model_version.classes, model_version.positive, model_version.threshold) == (
        "outcome",
        ("no", "yes"),
        "yes",
        0.5,
    )
    assert model_version.field("smoker").values == ("no", "yes")
    assert model_version.field("ward").is_code
    assert not model_version.has_packed
    assert model_version.manifest.version == 1
    assert "NA" in model_version.cleaning.null_values


def test_more_than_two_classes_have_no_positive_one(catalog: Catalog) -> None:
    model_version = catalog.model_version("flowers", 1)
    assert (model_version.positive, model_version.threshold, model_version.has_packed) == (None, None, True)


def test_a_class_without_a_name_is_called_as_it_is(catalog: Catalog) -> None:
    model_version = catalog.model_version("flowers", 1)
    assert (model_version.class_names, model_version.called("setosa")) == ({}, "setosa")


def test_names_for_people_come_from_the_configuration(webapp_root: Path, tmp_path: Path) -> None:
    (tmp_path / "anything").mkdir()
    (tmp_path / "anything" / "pipeline.yaml").write_text(NAMES, encoding="utf-8")
    model_version = Catalog(webapp_root / "serving", tmp_path).model_version("cells", 1)
    assert (model_version.title, model_version.description) == ("Cells", "Tells malignant from benign.")
    radius = model_version.field("radius")
    assert (radius.title, radius.unit, radius.group) == ("Radius of the nucleus", "µm", "Size")
    assert model_version.field("texture").title == "Texture"
    assert [model_version.called(label) for label in model_version.classes] == ["benign", "malignant"]
    assert [(heading, [f.name for f in fields]) for heading, fields in model_version.groups] == [
        ("Size", ["radius"]),
        ("", ["texture", "smooth ness (mean)"]),
    ]


def test_a_configuration_that_cannot_be_read_breaks_nothing(
    webapp_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "pipeline.yaml").write_text("name: [", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        model_version = Catalog(webapp_root / "serving", tmp_path).model_version("cells", 1)
    assert model_version.title == "Cells"
    assert "pipeline.yaml" in caplog.text


def test_examples_are_values_as_in_the_training_data(catalog: Catalog, made: dict[str, Made]) -> None:
    model_version = catalog.model_version("patients", 1)
    assert model_version.field("age").example.isdecimal()
    assert model_version.field("city").example in made["patients"].columns["city"]
    pressure = model_version.field("pressure").stats
    assert pressure.minimum is not None
    assert pressure.maximum is not None
    assert pressure.minimum < float(model_version.field("pressure").example) < pressure.maximum


def test_models_and_versions_are_listed(webapp_root: Path, tmp_path: Path, made: dict[str, Made]) -> None:
    make_version(tmp_path / "serving", made["cells"], 9)
    make_version(tmp_path / "serving", made["cells"], 10)
    make_version(tmp_path / "serving", made["flowers"], 1)
    catalog = Catalog(tmp_path / "serving", tmp_path)
    assert catalog.models() == ["cells", "flowers"]
    assert catalog.versions("cells") == [9, 10]
    assert (catalog.opening(""), catalog.opening("flowers")) == ("cells", "flowers")
    with pytest.raises(ModelNotNamed, match="one of: cells, flowers"):
        catalog.default("")
    assert catalog.default("flowers") == "flowers"


@pytest.mark.parametrize(("model", "version"), [("nobody", 1), ("cells", 7), ("..", 1)])
def test_what_is_not_there_is_not_found(catalog: Catalog, model: str, version: int) -> None:
    with pytest.raises(ModelNotFound):
        catalog.model_version(model, version)


def test_the_only_model_needs_no_name(tmp_path: Path, made: dict[str, Made]) -> None:
    make_version(tmp_path, made["cells"], 1)
    assert Catalog(tmp_path, tmp_path).default("") == "cells"


def test_without_any_model_there_is_no_default(tmp_path: Path) -> None:
    with pytest.raises(NothingPushed, match="no model has been pushed"):
        Catalog(tmp_path, tmp_path).default("")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (TRAINING, "{}"),
        (TRAINING, "[]"),
        (TRAINING, "{"),
        (SCHEMA, "feature {"),
        (STATISTICS, "\x08no"),
        (STATISTICS, None),
        (MANIFEST, "{}"),
    ],
    ids=["no settings", "a list", "no JSON", "schema", "statistics", "no statistics", "manifest"],
)
def test_a_broken_version_is_the_servers_fault_not_the_askers(
    webapp_root: Path, tmp_path: Path, file: str, content: str | None
) -> None:
    base = tmp_path / "cells" / "1"
    shutil.copytree(webapp_root / "serving" / "cells" / "1", base)
    (base / file).unlink()
    if content is not None:
        (base / file).write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableVersion) as caught:
        Catalog(tmp_path, tmp_path).model_version("cells", 1)
    assert isinstance(caught.value, DataError)
    assert caught.value.http_status == 503
