from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import VouchError
from serving.client.errors import BadAnswer, ModelNotFound, ModelServerDown
from serving.repository.layout import TRAINING
from tests.support.web.fake_model_server import FakeModelServer, probabilities_of
from tests.support.web.models import Made, labels_of, make_version, release
from tests.support.web.predicting import ASKED, Bench
from webapp.bulk import scoring as bulk
from webapp.bulk.csv_blocks import Limits, TooLarge
from webapp.bulk.scoring import BulkResult, Upload, score_csv
from webapp.types import InvalidInput

RESULT = "result.csv"


@pytest.fixture
def bench(webapp_root: Path, fake: FakeModelServer) -> Iterator[Bench]:
    found = Bench(webapp_root / "serving", fake.url)
    yield found
    found.close()


def content(made: Made, rows: int, delimiter: str = ",", **extra: list[str]) -> bytes:
    """A file of training rows after extra columns."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow([*extra, *made.columns])
    for number in range(rows):
        values = [values[number] for values in made.columns.values()]
        writer.writerow([*(column[number] for column in extra.values()), *("" if v is None else v for v in values)])
    return text.getvalue().encode()


def score(bench: Bench, model: str, file: bytes, folder: Path, **given: Any) -> BulkResult:
    report = given.pop("report", lambda *_: None)
    limits = Limits(given.pop("max_bytes", 1 << 24), given.pop("max_rows", 10_000))
    upload = Upload(model, io.BytesIO(file), limits, len(file), **given)
    folder.mkdir(exist_ok=True)
    with (folder / RESULT).open("wb") as result:
        return score_csv(bench.predictor, upload, ASKED, result, report)


def rows_of(folder: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with (folder / RESULT).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, strict=True))


@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_each_row_comes_back_with_what_the_model_says(
    bench: Bench, made: dict[str, Made], tmp_path: Path, model: str
) -> None:
    ids = [f"id {n}" for n in range(50)]
    result = score(bench, model, content(made[model], 50, id=ids), tmp_path)
    rows = rows_of(tmp_path)
    expected = probabilities_of(made[model], {name: values[:50] for name, values in made[model].columns.items()})
    assert [row["id"] for row in rows] == ids
    assert [row["label"] for row in rows] == labels_of(made[model], expected)
    positive = made[model].positive
    told = expected[:, made[model].classes.index(positive)] if positive else expected.max(axis=1)
    assert [float(row["probability"]) for row in rows] == pytest.approx(told.tolist(), abs=1e-5)
    assert {row["version"] for row in rows} == {"1"}
    assert {row["warnings"] for row in rows} == {"0"}
    assert ("probability_setosa" in rows[0]) == (model == "flowers")
    assert (result.rows, result.failed, result.version, result.route) == (50, 0, 1, "stable")


def test_rows_that_cannot_be_predicted_are_told_and_left_out(
    bench: Bench, made: dict[str, Made], tmp_path: Path
) -> None:
    lines = content(made["cells"], 6).decode().splitlines()
    lines[2] = "1,5,0.1,7"
    lines[3] = "x,20,0.1"
    lines[5] = "15,,0.1"
    result = score(bench, "cells", "\n".join(lines).encode(), tmp_path)
    assert (result.rows, result.failed) == (3, 3)
    assert [(p.row, p.field, p.got) for p in result.problems] == [
        (3, "", "4: 1,5,0.1,7"),
        (4, "radius", "x"),
        (6, "texture", "nothing"),
    ]
    assert {count for _, _, count in result.counts} == {1}
    assert [row["radius"] for row in rows_of(tmp_path)] == [lines[n].split(",")[0] for n in (1, 4, 6)]


def test_a_file_without_any_good_row_has_a_header_for_a_result(bench: Bench, tmp_path: Path) -> None:
    result = score(bench, "flowers", b"petal length (cm),petal width (cm)\nx,y\n", tmp_path)
    assert (result.rows, result.failed) == (0, 1)
    assert (tmp_path / RESULT).read_text().count("\n") == 1
    assert (
        (tmp_path / RESULT)
        .read_text()
        .endswith(
            "label,probability,probability_setosa,probability_versicolor,probability_virginica,version,warnings\n"
        )
    )


def test_what_a_spreadsheet_would_calculate_is_defused(bench: Bench, made: dict[str, Made], tmp_path: Path) -> None:
    notes = ["=1+1", "+SUM(A1)", "-2", "-1e5", "@x", "\tx", 'plain, "quoted"\nline', "+62 812"]
    score(bench, "cells", content(made["cells"], 8, **{"=note": notes}), tmp_path)
    rows = rows_of(tmp_path)
    expected = ["'=1+1", "'+SUM(A1)", "-2", "-1e5", "'@x", "'\tx", 'plain, "quoted"\nline', "'+62 812"]
    assert [row["'=note"] for row in rows] == expected


def test_columns_of_the_file_that_are_named_like_ours_are_kept(
    bench: Bench, made: dict[str, Made], tmp_path: Path
) -> None:
    file = content(made["cells"], 2, delimiter=";", label=["a", "b"])
    score(bench, "cells", file, tmp_path)
    rows = rows_of(tmp_path, ";")
    assert [row["label"] for row in rows] == ["a", "b"]
    assert {row["predicted_label"] for row in rows} <= {"B", "M"}


def test_large_files_go_in_parts_by_one_version(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 64)
    told: list[tuple[int, int, int]] = []
    file = content(made["cells"], 300)
    score(bench, "cells", file, tmp_path, report=lambda *now: told.append(now))
    assert [len(batch.labels) for batch in bench.kept.batches] == [64, 64, 64, 64, 44]
    assert [batch.first_row for batch in bench.kept.batches] == [0, 64, 128, 192, 256]
    assert len(fake.asked) == 5
    assert [rows for rows, _, _ in told] == [64, 128, 192, 256, 300]
    assert told[-1] == (300, len(file), len(file))
    values = [float(row["radius"]) for row in rows_of(tmp_path)]
    assert values == pytest.approx(list(made["cells"].columns["radius"]))
    logged = [value for batch in bench.kept.batches for value in batch.columns["radius"]]
    assert logged == pytest.approx(values)
    assert bench.counted("vouch_model_server_calls_total", outcome="ok") == 5


def test_cautions_are_counted(bench: Bench, made: dict[str, Made], tmp_path: Path) -> None:
    result = score(bench, "cells", content(made["cells"], 2) + b"999,999,0.1\n", tmp_path)
    assert [row["warnings"] for row in rows_of(tmp_path)] == ["0", "0", "2"]
    assert result.cautions == 1
    assert bench.counted("vouch_prediction_cautions_total", model="cells", feature="radius") == 1


def test_missing_columns_are_told_before_anything_is_predicted(
    bench: Bench, fake: FakeModelServer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="columns are missing") as caught:
        score(bench, "patients", b"age,presure,smoker\n50,120,no\n", tmp_path)
    problems = caught.value.problems
    assert [problem.field for problem in problems] == ["pressure", "city", "ward"]  # cholesterol may be missing
    assert "'presure'" in problems[0].got
    assert fake.asked == []


@pytest.mark.parametrize(
    ("given", "told"), [({"max_bytes": 500}, "500 bytes"), ({"max_rows": 99}, "99 rows")], ids=["bytes", "rows"]
)
def test_bounds_hold(bench: Bench, made: dict[str, Made], tmp_path: Path, given: dict[str, int], told: str) -> None:
    with pytest.raises(TooLarge, match=told):
        score(bench, "cells", content(made["cells"], 100), tmp_path, **given)


@pytest.mark.parametrize(
    "file", [b"", b"petal length (cm),petal width (cm)\n", b"petal length (cm),petal width (cm)\n,\n"]
)
def test_a_file_without_rows_is_refused(bench: Bench, tmp_path: Path, file: bytes) -> None:
    with pytest.raises(InvalidInput):
        score(bench, "flowers", file, tmp_path)


def test_a_model_server_that_fails_half_way_ends_it(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 10)

    def spoil(*_: int) -> None:
        fake.mood = "nan"

    with pytest.raises(BadAnswer):
        score(bench, "cells", content(made["cells"], 300), tmp_path, report=spoil)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bulk")]


def test_work_ends_when_the_client_is_gone(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    class CutOff(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if piece := super().read(size):
                return piece
            raise VouchError("the body ended before all of it was here")

    upload = Upload("cells", CutOff(content(made["cells"], 300)), Limits(1 << 24, 10_000))
    with pytest.raises(VouchError, match="the body ended"), (tmp_path / RESULT).open("wb") as result:
        score_csv(bench.predictor, upload, ASKED, result)
    assert fake.asked == []


def test_a_file_of_excel_in_a_country_with_decimal_commas(bench: Bench, made: dict[str, Made], tmp_path: Path) -> None:
    plain = score(bench, "cells", content(made["cells"], 20), tmp_path)
    scores = [row["probability"] for row in rows_of(tmp_path)]
    text = "sep=;\n" + content(made["cells"], 20, delimiter=";").decode().replace(".", ",") + "\n" * 100
    result = score(bench, "cells", text.encode("utf-16"), tmp_path)
    assert (result.rows, result.failed) == (plain.rows, plain.failed) == (20, 0)
    assert [row["probability"] for row in rows_of(tmp_path, ";")] == scores
    assert "," in rows_of(tmp_path, ";")[0]["radius"]


def test_thousands_are_read_as_in_the_training_data_and_written_as_they_came(
    webapp_root: Path, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    shutil.copytree(webapp_root / "serving" / "patients", tmp_path / "serving" / "patients")
    training = tmp_path / "serving" / "patients" / "1" / TRAINING
    told = json.loads(training.read_text())
    told["settings"]["data"]["thousands"] = ","
    training.write_text(json.dumps(told))
    bench = Bench(tmp_path / "serving", fake.url)
    file = content(made["patients"], 3).decode().splitlines()
    place = file[0].split(",").index("cholesterol")
    rows = list(csv.reader(file[1:]))
    out = io.StringIO()
    csv.writer(out).writerows([file[0].split(","), *([*r[:place], "1,234.5", *r[place + 1 :]] for r in rows)])
    result = score(bench, "patients", out.getvalue().encode(), tmp_path)
    bench.close()
    assert (result.rows, result.failed) == (3, 0)
    assert [row["cholesterol"] for row in rows_of(tmp_path)] == ["1,234.5"] * 3
    assert {row["version"] for row in rows_of(tmp_path)} == {"1"}


def test_a_model_that_is_not_there_is_not_found(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        score(bench, "nobody", b"a\n1\n", tmp_path)


def test_a_version_that_the_server_lacks_is_told_before_anything(
    fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    make_version(tmp_path, made["cells"], 3)
    release(tmp_path, "cells", 3)
    bench = Bench(tmp_path, fake.url)
    with pytest.raises(ModelServerDown, match="does not have cells version 3"):
        score(bench, "cells", content(made["cells"], 2), tmp_path / "results")
    bench.close()
