import pytest

from serving.server.core.metrics import MAX_POINTS, OTHER, Registry, ServingMetrics, exponential


def test_a_counter_is_written_under_its_labels() -> None:
    registry = Registry()
    registry.counter("/test/path/total", "name").cell("abc").add(2)
    assert registry.page() == '# TYPE :test:path:total counter\n:test:path:total{name="abc"} 2\n'


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    registry = Registry()
    registry.counter("/test/total").cell().add(3)
    registry.counter("/other/total")
    assert registry.page() == (
        "# TYPE :other:total counter\n:other:total{} 0\n# TYPE :test:total counter\n:test:total{} 3\n"
    )


def test_a_histogram_is_cumulative_and_a_value_on_a_bound_counts_above_it() -> None:
    registry = Registry()
    cell = registry.histogram("/test/h", exponential(1, 2, 4), "status").cell("good")
    for value in (2, 20, 200):
        cell.add(value)
    assert registry.page().splitlines() == [
        "# TYPE :test:h histogram",
        ':test:h_bucket{status="good",le="1"} 0',
        ':test:h_bucket{status="good",le="2"} 0',
        ':test:h_bucket{status="good",le="4"} 1',
        ':test:h_bucket{status="good",le="8"} 1',
        ':test:h_bucket{status="good",le="+Inf"} 3',
        ':test:h_sum{status="good"} 222',
        ':test:h_count{status="good"} 3',
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [('"abc\\"', '\\"abc\\\\\\"'), ("two\nlines", "two\\nlines")],
    ids=["quotes and backslashes", "a line break"],
)
def test_label_values_are_escaped(value: str, written: str) -> None:
    registry = Registry()
    registry.counter("/t", "name").cell(value).add()
    assert registry.page().splitlines()[1] == f':t{{name="{written}"}} 1'


def test_made_up_model_names_do_not_fill_the_memory() -> None:
    registry = Registry()
    metric = registry.counter("/t", "model_name")
    for index in range(MAX_POINTS + 50):
        metric.cell(f"m{index}").add()
    lines = registry.page().splitlines()[1:]
    assert len(lines) == MAX_POINTS + 1
    assert f':t{{model_name="{OTHER}"}} 50' in lines


def test_the_latency_bounds_are_those_of_tensorflow_serving() -> None:
    registry = Registry()
    ServingMetrics(registry).request_latency.cell("m", "predict", "REST").add(11)
    name = ":tensorflow:serving:request_latency_bucket"
    lines = [line for line in registry.page().splitlines() if line.startswith(name)]
    bounds = [line.split('le="')[1].split('"')[0] for line in lines]
    assert bounds[:4] == ["10", "18", "32.4", "58.32"]
    assert bounds[8:13] == ["1102", "1983.59", "3570.47", "6426.84", "11568.3"]
    assert (len(bounds), bounds[-1]) == (34, "+Inf")
