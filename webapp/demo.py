"""Ask a web app that was just started, as a person's browser and a program would, so that people see it answer."""

from __future__ import annotations

import time

import requests

from common.errors import EnvironmentProblem

TIMEOUT_S = 10.0
WAIT_S = 60.0


def ask_once(url: str) -> str:
    """Return what the page and the API of a server answer, in two lines. Waits for it to be ready.

    Raises EnvironmentProblem if it is not ready in time, or does not answer as it should.
    """
    _wait_until_ready(url)
    page = _answer(url, "/")
    model = _answer(url, "/api/v1/models").json()["models"][0]["name"]
    predicted = _answer(url, f"/api/v1/predict/by-index/0?model={model}").json()
    first = predicted["prediction"]
    return (
        f"  page      {page.status_code}, {len(page.content)} bytes\n"
        f"  API       row 0 of the test split: {first['label']} with {first['probability']:.4f}, "
        f"by version {predicted['version']}; it is {predicted['true_label']}"
    )


def _wait_until_ready(url: str) -> None:
    deadline, last_answer = time.monotonic() + WAIT_S, "no answer"
    while time.monotonic() < deadline:
        try:
            answer = requests.get(f"{url}/readyz", timeout=TIMEOUT_S)
        except requests.RequestException as error:
            last_answer = str(error)
        else:
            if answer.ok:
                return
            last_answer = answer.text
        time.sleep(0.1)
    raise EnvironmentProblem("the web app is not ready", got=last_answer, wanted=f"ready within {WAIT_S:g} s")


def _answer(url: str, path: str) -> requests.Response:
    answer = requests.get(url + path, timeout=TIMEOUT_S)
    if not answer.ok:
        raise EnvironmentProblem(f"the web app answered {answer.status_code} to {path}", got=answer.text[:500])
    return answer
