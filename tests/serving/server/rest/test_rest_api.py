"""The REST API of a running server, against tiny models; the cases are the contract's."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.serving import models
from tests.support.serving.running import Running, running

pytestmark = pytest.mark.slow

MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("rest")
    models.half_plus(base / "half" / "00000123")
    models.two_inputs(base / "two" / "1")
    models.text(base / "text" / "1")
    models.slow(base / "slow" / "1")
    models.half_plus(base / "many" / "1", 2.0)
    models.half_plus(base / "many" / "2", 3.0)
    config = base / "models.config"
    lines = [
        f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'
        for name in ("half", "two", "text", "slow")
    ]
    lines.append(
        f'config {{ name: "many" base_path: "{base / "many"}" model_platform: "tensorflow", '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } }'
    )
    config.write_text(f"model_config_list {{ {' '.join(lines)} }}")
    monitoring = base / "monitoring.config"
    monitoring.write_text(MONITORING)
    with running(
        base / "log",
        f"--model_config_file={config}",
        f"--monitoring_config_file={monitoring}",
        "--allow_version_labels_for_unavailable_models=true",
        "--rest_api_timeout_in_ms=1500",
        "--rest_api_enable_cors_support",
        "--rest_api_max_body_bytes=100000",
    ) as server:
        yield server


PREDICTIONS: list[tuple[str, str, Any, Any]] = [
    ("a row of values", "half:predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
    ("rows of lists", "half:predict", {"instances": [[2.0], [4.0]]}, {"predictions": [[3.0], [4.0]]}),
    ("rows of objects", "half:predict", {"instances": [{"x": 2.0}]}, {"predictions": [3.0]}),
    ("columns", "half:predict", {"inputs": [2.0]}, {"outputs": [3.0]}),
    ("named columns", "half:predict", {"inputs": {"x": [2.0]}}, {"outputs": [3.0]}),
    ("a scalar", "half:predict", {"inputs": 2.0}, {"outputs": 3.0}),
    ("a version", "half/versions/123:predict", {"instances": [2.0]}, {"predictions": [3.0]}),
    ("the newest of many", "many:predict", {"instances": [2.0]}, {"predictions": [4.0]}),
    ("a label", "many/labels/stable:predict", {"instances": [2.0]}, {"predictions": [3.0]}),
    (
        "several inputs and outputs",
        "two:predict",
        {"instances": [{"a": 1, "b": 2}]},
        {"predictions": [{"total": 3.0, "same": 3.0, "difference": -1.0}]},
    ),
    (
        "a regression",
        "half:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": 4.0}]},
        {"results": [3.0, 4.0]},
    ),
    (
        "a classification",
        "half:classify",
        {"signature_name": "classify_both", "examples": [{"x": 2.0}]},
        {"results": [[["half", 3.0]]]},
    ),
    (
        "a context",
        "half:classify",
        {"signature_name": "classify_x_to_y", "context": {"x": 2.0}, "examples": [{}]},
        {"results": [[["", 3.0]]]},
    ),
    (
        "bytes",
        "text:predict",
        {"instances": [{"b64": "QUI="}, "C"]},
        {"predictions": [{"text_bytes": {"b64": "YWI="}, "length": 2}, {"text_bytes": {"b64": "Yw=="}, "length": 1}]},
    ),
]


@pytest.mark.parametrize(("path", "body", "wanted"), [c[1:] for c in PREDICTIONS], ids=[c[0] for c in PREDICTIONS])
def test_predictions(server: Running, path: str, body: Any, wanted: Any) -> None:
    answer = requests.post(f"{server.url}/v1/models/{path}", json=body, timeout=30)
    assert (answer.status_code, answer.json()) == (200, wanted)
    assert answer.headers["content-type"] == "application/json"


ERRORS: list[tuple[str, str, str, Any, int, str]] = [
    (
        "an unknown model",
        "POST",
        "nobody:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Latest(nobody)",
    ),
    (
        "an unknown version",
        "POST",
        "half/versions/7:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Specific(half, 7)",
    ),
    (
        "an unknown label",
        "POST",
        "half/labels/x:predict",
        {"instances": [1]},
        400,
        "Unrecognized servable version label: x",
    ),
    (
        "an unknown signature",
        "POST",
        "half:predict",
        {"signature_name": "s", "instances": [1]},
        400,
        'Serving signature name: "s" not found in signature def',
    ),
    ("no JSON", "POST", "half:predict", b"", 400, "JSON Parse error: The document is empty"),
    ("broken JSON", "POST", "half:predict", b"this is not json", 400, "JSON Parse error: "),
    ("no object", "POST", "half:predict", b"[1]", 400, "must be a JSON object, but it is a list"),
    ("neither key", "POST", "half:predict", {}, 400, "either 'inputs' or 'instances'"),
    ("text for a number", "POST", "half:predict", {"instances": ["x"]}, 400, "instances[0] must be of type float"),
    ("a missing input", "POST", "two:predict", {"instances": [{"a": 1}]}, 400, "instances[0] must have the keys"),
    ("a list with no element", "POST", "half:predict", {"instances": []}, 400, "instances"),
    (
        "ragged rows",
        "POST",
        "half:predict",
        {"instances": [[1.0], [1.0, 2.0]]},
        400,
        "instances[1] must be a list of 1",
    ),
    ("no examples", "POST", "half:regress", {"signature_name": "regress_x_to_y", "examples": []}, 400, "empty"),
    (
        "an unfit signature",
        "POST",
        "half:classify",
        {"signature_name": "classify_three", "examples": [{"x": 1.0}]},
        400,
        "Expected one or two output Tensors, found 3",
    ),
    ("a wrong verb", "POST", "half:explain", {}, 400, "Malformed request: POST /v1/models/half:explain"),
    ("a verb in capitals", "POST", "half:PREDICT", {}, 400, "Malformed request: POST /v1/models/half:PREDICT"),
    ("a query", "POST", "half:predict?x=1", {}, 400, "Malformed request: POST /v1/models/half:predict?x=1"),
    ("another method", "PUT", "half", {}, 400, "Malformed request: PUT /v1/models/half"),
    (
        "a version beyond int64",
        "GET",
        "half/versions/9223372036854775808",
        None,
        400,
        "Failed to convert version: 9223372036854775808 to numeric.",
    ),
    ("the status of nobody", "GET", "nobody", None, 404, "Could not find any versions of model nobody"),
    (
        "the status of a version never seen",
        "GET",
        "half/versions/7",
        None,
        404,
        "Could not find version 7 of model half",
    ),
    ("the metadata of nobody", "GET", "nobody/metadata", None, 404, "Servable not found for request: Latest(nobody)"),
    ("too slow a run", "POST", "slow:predict", {"instances": [100.0]}, 504, ""),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"), [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS]
)
def test_errors(server: Running, method: str, path: str, body: Any, status: int, words: str) -> None:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    answer = requests.request(method, f"{server.url}/v1/models/{path}", data=data, timeout=30)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert server.predict("half", {"instances": [2.0]}).json() == {"predictions": [3.0]}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/"], ids=["no slash", "slash"])
def test_a_status_without_a_model_names_what_is_missing(server: Running, path: str) -> None:
    answer = requests.get(server.url + path, timeout=30)
    assert answer.status_code == 400
    wanted = "Missing model name in request." if not path.endswith("/") else "Malformed request: GET /v1/models/"
    assert answer.json() == {"error": wanted}


def test_outside_of_the_api_there_is_nothing(server: Running) -> None:
    assert requests.get(server.url + "/other", timeout=30).status_code == 404


def test_the_prefix_has_no_case_and_names_are_decoded(server: Running) -> None:
    assert requests.get(server.url + "/V1/MODELS/h%61lf", timeout=30).status_code == 200


def test_status(server: Running) -> None:
    answer = requests.get(server.url + "/v1/models/half", timeout=30)
    ok = {"error_code": "OK", "error_message": ""}
    assert answer.json() == {"model_version_status": [{"version": "123", "state": "AVAILABLE", "status": ok}]}


def test_metadata_prints_every_field(server: Running) -> None:
    answer = requests.get(server.url + "/v1/models/half/versions/123/metadata", timeout=30).json()
    assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "name": "x:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
    }
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


def test_numbers_that_json_has_not_go_both_ways(server: Running) -> None:
    answer = server.predict("half", None, data=b'{"instances": [NaN, Infinity, -Infinity, 1e39, 0.1]}')
    assert answer.text.count("NaN") == 1
    values = answer.json()["predictions"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, math.inf, 2.05]


def test_a_packed_body_is_unpacked(server: Running) -> None:
    body = gzip.compress(b'{"instances": [2.0]}')
    answer = server.predict("half", None, data=body, headers={"Content-Encoding": "gzip"})
    assert answer.json() == {"predictions": [3.0]}


@pytest.mark.parametrize(("origin", "status"), [("https://a.org", 200), ("a.org", 400)], ids=["web", "no scheme"])
def test_cors(server: Running, origin: str, status: int) -> None:
    answer = requests.options(f"{server.url}/v1/models/half:predict", headers={"Origin": origin}, timeout=30)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "POST, GET"


def test_metrics_count_what_was_asked(server: Running) -> None:
    def counted(line: str) -> float:
        page = requests.get(server.url + "/monitoring/prometheus/metrics", timeout=30)
        assert page.headers["content-type"] == "text/plain"
        found = re.search(re.escape(line) + r" ([0-9.e+]+)$", page.text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    fine = ':tensorflow:serving:request_count{model_name="half",status="OK"}'
    timed = ':tensorflow:serving:request_latency_count{model_name="half",API="predict",entrypoint="REST"}'
    wrong = ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}'
    before = [counted(line) for line in (fine, timed, wrong)]
    server.predict("half", {"instances": [2.0]})
    server.predict("half", {"instances": ["x"]})
    assert [counted(line) for line in (fine, timed, wrong)] == [before[0] + 1, before[1] + 1, before[2] + 1]


def test_made_up_models_share_one_point_of_the_metrics(server: Running) -> None:
    for number in range(3):
        requests.get(f"{server.url}/v1/models/made_up_{number}", timeout=30)
        server.predict(f"made_up_{number}", {"instances": [2.0]})
    page = requests.get(server.url + "/monitoring/prometheus/metrics", timeout=30).text
    assert "made_up" not in page
    assert ':tensorflow:serving:request_count{model_name="(other)",status="NOT_FOUND"}' in page


def test_a_query_on_the_metrics_is_refused(server: Running) -> None:
    path = "/monitoring/prometheus/metrics"
    answer = requests.get(f"{server.url}{path}?x=1", timeout=30)
    assert (answer.status_code, answer.text) == (400, f"Unexpected path: {path}?x=1. Should be {path}")


def test_the_config_and_log_stay_readable(server: Running) -> None:
    assert "Successfully loaded servable version {name: half version: 123}" in Path(server.log).read_text()
