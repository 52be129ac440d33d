"""The monitoring page: numbers when there are some, and words when there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from common.records.drift import Alarm, DriftReport, Measurement, WindowCheck
from tests.support.clock import Clock
from tests.support.web.apps import App, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.logged import batch, put
from webapp.http.metrics import Metrics
from webapp.pages.monitoring import traffic


def page_of(client: FlaskClient, path: str = "/monitoring", **headers: str) -> BeautifulSoup:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    return BeautifulSoup(response.text, "html.parser")


def stats(page: BeautifulSoup) -> dict[str, str]:
    return {stat.dt.text: " ".join(stat.dd.text.split()) for stat in page.select(".stat") if stat.dt and stat.dd}


@pytest.fixture(scope="module")
def app(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with own_app(tmp_path_factory.mktemp("monitoring") / "var", webapp_root / "serving", _fake.url) as made:
        yield made


@pytest.fixture
def browser(app: App, fake: FakeModelServer, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr("webapp.pages.monitoring.REFRESH_S", 0)
    return app[0].test_client()


def test_requests_failures_and_lost_rows_are_summed_by_route() -> None:
    metrics = Metrics()
    for route, status in (("/a", 200), ("/a", 404), ("/a", 503), ("/b", 200)):
        metrics.requests.labels(route, "GET", status).inc()
    metrics.dropped(7)
    found = traffic(metrics.text().decode())
    assert (found.requests, found.failed, found.dropped_rows) == (4, 1, 7)
    assert (found.routes["/a"].requests, found.routes["/a"].failed) == (3, 1)


def test_the_last_hour_is_told_in_numbers_and_charts(app: App, browser: FlaskClient) -> None:
    now = datetime.now(timezone.utc)
    put(app[1].settings.predictions / "cells", batch(3, at=now - timedelta(minutes=2), latency_s=0.004))
    page = page_of(browser)
    told = stats(page)
    assert told["Rows predicted"] == "3 in the last 60 minutes"
    assert told["Median latency"].startswith("4 ms")
    assert [" ".join(row.text.split()) for row in page.select("#answers tbody tr")] == ["1B266.7%", "1M133.3%"]
    assert page.select("#rows svg")
    assert "threshold" in page.select_one("#scores svg").text  # type: ignore[union-attr]


def test_however_many_look_the_numbers_are_found_out_once(make_app: Callable[..., App]) -> None:
    app, services = make_app()
    before = page_of(app.test_client())
    services.metrics.dropped(12)
    again = page_of(app.test_client())
    assert stats(again)["Rows the log lost"] == stats(before)["Rows the log lost"]
    assert again.select_one("#live time") == before.select_one("#live time")
    other = page_of(app.test_client(), "/monitoring?model=flowers")
    assert stats(other)["Rows the log lost"].startswith("12")


def test_without_predictions_it_says_so(browser: FlaskClient) -> None:
    page = page_of(browser, "/monitoring?model=flowers")
    assert "No prediction in the last hour" in page.text
    assert stats(page)["Rows predicted"].startswith("0")


def test_the_rate_is_over_the_time_since_the_last_look(
    app: App, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(100.0)
    monkeypatch.setattr("webapp.pages.monitoring.monotonic", clock)
    path = "/monitoring?model=patients"
    assert "from the next look on" in stats(page_of(browser, path))["Requests a second"]
    app[1].metrics.requests.labels("/x", "GET", 503).inc(19)
    clock.now += 10
    told = stats(page_of(browser, path))
    assert told["Requests a second"] == "2 in the last 10 s, pages included"
    assert "19 of " in told["Failed requests"]


def test_a_model_that_is_none_is_the_first(browser: FlaskClient) -> None:
    assert page_of(browser, "/monitoring?model=nobody").select_one("#live")


def test_the_script_gets_only_the_part_that_changes(browser: FlaskClient) -> None:
    page = page_of(browser, **{"X-Requested-With": "fetch"})
    assert page.select("#live[data-next]")
    assert not page.select("html, h1")


@pytest.mark.parametrize("mood", ["garbage", "failing", "closing"])
def test_with_the_model_server_away_all_else_is_there(browser: FlaskClient, fake: FakeModelServer, mood: Any) -> None:
    fake.mood = mood
    page = page_of(browser)
    assert "does not answer" in page.select_one("#server").text  # type: ignore[union-attr]
    assert page.select("#routes tbody tr")


def kept_drift(var: Path, now: datetime, *sizes: float, age: timedelta = timedelta(0), **given: Any) -> DriftReport:
    """A check of a window a day up to now, in which `radius` was so far from the training data."""
    windows = []
    for ago, size in enumerate(reversed(sizes)):
        start = now - age - timedelta(days=ago + 1)
        radius = Measurement("input.radius", "distribution", 1e-9, size, "W1/σ", 0.15, is_finding=size > 0.15)
        windows.insert(0, WindowCheck(1, start, start + timedelta(days=1), 500, 500, "checked", (radius,)))
    report = DriftReport("cells", now - age, 86400, tuple(windows), **given)
    report.write(var)
    return report


@pytest.fixture
def drift_page(app: App, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Keep a check, and return the drift section of the page."""
    monkeypatch.setattr("webapp.pages.monitoring.DRIFT_REFRESH_S", 0)
    var = app[1].settings.var

    def show(*sizes: float, query: str = "", **given: Any) -> Any:
        kept_drift(var, datetime.now(timezone.utc), *sizes, **given)
        return page_of(browser, f"/monitoring?model=cells{query}").select_one("#drift")

    yield show
    (var / "monitoring" / "cells" / "drift.json").unlink(missing_ok=True)


def test_before_a_check_the_page_says_how_drift_is_measured(browser: FlaskClient) -> None:
    drift = page_of(browser).select_one("#drift")
    assert drift
    assert "not measured yet" in drift.text
    assert "python -m monitoring drift cells" in drift.text


def test_drift_is_shown_by_column_with_its_limit(drift_page: Callable[..., Any]) -> None:
    section = drift_page(0.02, 0.08, 0.31)
    assert "no alarm" in section.text
    assert "1 of 3 windows with findings" in " ".join(section.text.split())
    [row] = section.select("tbody tr")
    assert [cell.text for cell in row.select("td")] == [
        "radius",
        "distribution",
        "W1/σ",
        "0.31",
        "0.31",
        "0.15",
        "1 of 3",
    ]
    assert "The limit is 0.15" in section.select_one("svg desc").text


def test_an_alarm_is_told_with_version_and_column(drift_page: Callable[..., Any]) -> None:
    alarm = Alarm(1, "input.radius", 2, 3, datetime.now(timezone.utc) - timedelta(days=3))
    section = drift_page(0.5, 0.1, 0.5, alarms=(alarm,))
    assert "radius has drifted in 2 of the last 3 windows" in " ".join(section.text.split())
    assert section.select(".badge.fail")


def test_a_week_is_shown_or_a_month(drift_page: Callable[..., Any]) -> None:
    sizes = [0.01] * 20
    assert "of 7 windows" in " ".join(drift_page(*sizes).text.split())
    assert "of 20 windows" in " ".join(drift_page(*sizes, query="&days=30").text.split())
    assert "of 7 windows" in " ".join(drift_page(*sizes, query="&days=9").text.split()), "no period of ours"


def test_an_old_check_is_not_taken_for_a_clean_one(drift_page: Callable[..., Any]) -> None:
    assert "not measured lately" in drift_page(0.01, age=timedelta(days=3)).text


def test_a_window_that_could_not_be_checked_says_why(app: App, browser: FlaskClient, drift_page: Any) -> None:
    now = datetime.now(timezone.utc)
    window = WindowCheck(1, now - timedelta(hours=1), now, 0, 12, "too few rows", reason="12 rows; from 100 on …")
    drift_page()
    DriftReport("cells", now, 86400, (window,)).write(app[1].settings.var)
    section = page_of(browser, "/monitoring?model=cells").select_one("#drift")
    assert section
    assert "Nothing could be measured: 12 rows" in section.text


def test_a_kept_check_that_is_damaged_hides_no_other_number(app: App, browser: FlaskClient, drift_page: Any) -> None:
    drift_page()
    (app[1].settings.var / "monitoring" / "cells" / "drift.json").write_text("{")
    page = page_of(browser, "/monitoring?model=cells")
    assert "cannot be read" in page.select_one("#drift").text  # type: ignore[union-attr]
    assert page.select("#routes tbody tr")


def test_rows_that_the_log_lost_are_told(app: App, browser: FlaskClient) -> None:
    app[1].metrics.dropped(12)
    assert stats(page_of(browser))["Rows the log lost"].startswith("12")


def test_the_tools_are_linked_where_they_are_set_up(make_app: Callable[..., App], browser: FlaskClient) -> None:
    assert not page_of(browser).select('a[href^="http"]')
    app, _ = make_app(grafana_url="http://grafana.test", prometheus_url="http://prometheus.test")
    links = {link["href"] for link in page_of(app.test_client()).select('a[href^="http"]')}
    assert links == {"http://grafana.test", "http://prometheus.test"}


def test_without_a_model_the_page_is_there(make_app: Callable[..., App], tmp_path: Any) -> None:
    (tmp_path / "empty").mkdir()
    app, _ = make_app(serving=tmp_path / "empty")
    assert "Rows the log lost" in stats(page_of(app.test_client()))


def test_opted_out_it_says_what_cannot_be_known(make_app: Callable[..., App]) -> None:
    app, _ = make_app(log_predictions=False)
    assert "Predictions are not kept" in page_of(app.test_client()).text
