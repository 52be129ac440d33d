"""The serving gate against models that train and evaluate well and must not be served."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.gate_settings import ProbeSettings

pytestmark = pytest.mark.slow
SETTINGS = ProbeSettings(max_latency_ms=10_000, max_memory_mb=100_000)


@pytest.fixture
def model(pipeline_run: Any, tmp_path: Path) -> Path:
    """A copy of the good model, to be spoilt."""
    return Path(shutil.copytree(pipeline_run.model_folder, tmp_path / "model"))


def kinds(folder: Path) -> set[str]:
    """Probe in this process, as the child does in its own, and return the errors found."""
    from components.probe.process import judge, probe

    verdict = judge(probe(folder), SETTINGS)
    assert verdict.passed == (not any(finding.severity == "error" for finding in verdict.findings))
    return {finding.kind for finding in verdict.findings if finding.severity == "error"}


def test_the_good_model_is_blessed_by_a_fresh_process(pipeline_run: Any) -> None:
    from components.probe.process import judge, run_child

    report = run_child(pipeline_run.model_folder, timeout_s=600)
    verdict = judge(report, SETTINGS)
    assert verdict.passed, verdict.sentence
    assert {s.signature for s in report.signatures} == {
        "serving_default",
        "serving_examples",
        "serving_packed",
        "serving_plain",
    }
    assert all(s.largest_difference <= 1e-6 and s.latency_ms > 0 for s in report.signatures)
    assert report.memory_mb > 100


def test_what_the_shared_run_said_of_it(pipeline_run: Any) -> None:
    verdict = pipeline_run.verdicts["serving"]
    assert "4 signatures gave the golden answers" in verdict.sentence
    assert [finding.kind for finding in verdict.findings] == ["SIGNATURE_ANSWERED"] * 4


def test_a_keras_3_export_with_untracked_variables_is_refused(model: Path) -> None:
    """It loads in Python and fails in TensorFlow Serving: tensorflow/serving#2226, keras#19274."""
    import keras
    import tensorflow as tf

    network = keras.Sequential([keras.Input((30,)), keras.layers.Dense(1, "sigmoid")])

    @tf.function(input_signature=[tf.TensorSpec([None, 30], tf.float32, name="features")])
    def score(features: Any) -> Any:
        yes = network(features)[:, 0]
        label = tf.where(yes >= 0.5, tf.constant("M"), tf.constant("B"))
        return {"probabilities": tf.stack([1 - yes, yes], axis=1), "probability": yes, "label": label}

    extra = model.parent / "extra"
    shutil.move(model / "assets.extra", extra)
    shutil.rmtree(model)
    tf.saved_model.save(network, str(model), signatures={"serving_packed": score})
    shutil.move(extra, model / "assets.extra")
    golden = json.loads((model / "assets.extra" / "golden.json").read_text())
    golden |= {"inputs": {"serving_packed": golden["inputs"]["serving_packed"]}, "plain": {}}
    (model / "assets.extra" / "golden.json").write_text(json.dumps(golden))

    loaded = tf.saved_model.load(str(model)).signatures["serving_packed"](features=tf.ones((1, 30)))
    assert np.isfinite(loaded["probability"].numpy()).all(), "in Python all looks well"
    from components.probe.process import probe

    report = probe(model)
    said = " ".join([report.load_error or "", *(s.error or "" for s in report.signatures)])
    assert "Could not find variable" in said
    assert kinds(model) <= {"LOAD_FAILED", "SIGNATURE_FAILED"}


def rewrite_weights(model: Path, change: Callable[[Any], Any]) -> None:
    """Change every weight of the network and write the variables as they were written."""
    import tensorflow as tf

    prefix = str(model / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    for name, value in values.items():
        if name.startswith("network_variables") and value.dtype == np.float32:
            values[name] = change(value)
    tensors = [tf.constant(value) for value in values.values()]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=tensors)


@pytest.mark.parametrize(
    "change", [lambda w: w * np.float32(np.nan), lambda w: w * np.float32(1.01)], ids=["NaN", "one per cent off"]
)
def test_other_weights_than_those_evaluated_are_refused(model: Path, change: Callable[[Any], Any]) -> None:
    rewrite_weights(model, change)
    assert "WRONG_VALUES" in kinds(model)


def test_permuted_features_are_refused(model: Path) -> None:
    path = model / "assets.extra" / "golden.json"
    golden = json.loads(path.read_text())
    packed = golden["inputs"]["serving_packed"]["features"]
    swapped = [[row[1], row[0], *row[2:]] for row in packed]
    golden |= {"inputs": {"serving_packed": {"features": swapped}}, "plain": {}}
    path.write_text(json.dumps(golden))
    assert kinds(model) == {"WRONG_VALUES"}


def test_plain_models_other_than_those_judged_are_refused(model: Path) -> None:
    path = model / "assets.extra" / "golden.json"
    golden = json.loads(path.read_text())
    golden["plain"]["probabilities"][0][0][0] += 1e-3
    path.write_text(json.dumps(golden))
    assert kinds(model) == {"WRONG_VALUES"}


def test_a_signature_gone_is_refused(model: Path) -> None:
    path = model / "assets.extra" / "golden.json"
    golden = json.loads(path.read_text())
    golden["inputs"]["serving_bulk"] = golden["inputs"]["serving_packed"]
    path.write_text(json.dumps(golden))
    assert kinds(model) == {"SIGNATURE_FAILED"}


def test_a_cut_variables_file_is_refused(model: Path) -> None:
    from components.probe.process import judge, run_child

    [data] = (model / "variables").glob("*.data-*")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    verdict = judge(run_child(model, timeout_s=600), SETTINGS)
    assert not verdict.passed
    assert {finding.kind for finding in verdict.findings} <= {"LOAD_FAILED", "SIGNATURE_FAILED"}


@pytest.mark.parametrize("spoil", ["no graph", "no golden rows"])
def test_a_folder_with_parts_missing_is_refused(model: Path, spoil: str) -> None:
    from components.probe.process import judge, run_child

    (model / ("saved_model.pb" if spoil == "no graph" else "assets.extra/golden.json")).unlink()
    verdict = judge(run_child(model, timeout_s=600), SETTINGS)
    assert not verdict.passed
    assert [finding.kind for finding in verdict.findings] == ["LOAD_FAILED"]


def test_a_loader_that_hangs_is_given_up(model: Path) -> None:
    from components.probe.process import judge, run_child

    (model / "saved_model.pb").unlink()
    os.mkfifo(model / "saved_model.pb")  # nobody will ever write into it
    (model / "assets.extra" / "golden.json").unlink()
    os.mkfifo(model / "assets.extra" / "golden.json")
    report = run_child(model, timeout_s=1)
    assert report.load_error == "no answer within 1 s"
    assert not judge(report, SETTINGS).passed


def test_a_loader_that_is_killed_is_told(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from components.probe.process import judge, run_child

    # Python reads this before it runs the child, which then dies as by the kernel's out-of-memory killer
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = run_child(model, timeout_s=600)
    assert f"ended with code {-signal.SIGKILL}" in str(report.load_error)
    assert not judge(report, SETTINGS).passed


def test_rows_lost_before_the_evaluator_are_refused(pipeline_run: Any, tmp_path: Path) -> None:
    """The component itself, told that ExampleGen wrote one test row more than the Evaluator saw."""
    from tfx.components.util import model_utils
    from tfx.types import artifact_utils, standard_artifacts

    from components.artifacts import VerdictArtifact
    from components.probe.component import Executor
    from components.verdict import Verdict
    from pipeline.history import open_store

    store = open_store(pipeline_run.metadata)

    def artifact(component: str, key: str) -> Any:
        found = pipeline_run.run.step(component).outputs[key][0]
        return artifact_utils.deserialize_artifact(store.get_artifact_types_by_id([found.type_id])[0], found)

    examples = artifact("FileBasedExampleGen", "examples")
    examples.set_int_custom_property("rows_test", examples.get_int_custom_property("rows_test") + 1)
    blessing, verdict = standard_artifacts.InfraBlessing(), VerdictArtifact()
    blessing.uri, verdict.uri = str(tmp_path / "blessing"), str(tmp_path / "verdict")
    Executor(None).Do(
        {
            "model": [artifact("Trainer", "model")],
            "examples": [examples],
            "evaluation": [artifact("Evaluator", "evaluation")],
        },
        {"blessing": [blessing], "verdict": [verdict]},
        {"probe": SETTINGS.model_dump_json()},
    )
    assert not model_utils.is_infra_validated(blessing)
    said = Verdict.read(tmp_path / "verdict")
    assert [finding.kind for finding in said.findings if finding.severity == "error"] == ["ROW_LOSS"]
    assert "Evaluator (test) saw" in said.sentence
