from __future__ import annotations

from pathlib import Path

import pytest

from serving.server.config.models import All, Latest, ModelConfig, Policy, Specific
from serving.server.core.source import Source, choose, local_path


def found(base: Path, policy: Policy | None = None) -> dict[int, str] | None:
    polled = Source().poll([ModelConfig("m", str(base), policy or Latest())])
    return None if polled is None else {version: path.name for version, path in polled["m"].items()}


def folders(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


def test_what_is_named_by_a_whole_int64_is_a_version(tmp_path: Path) -> None:
    names = ("00000123", "7", "-1", "9223372036854775807", "9223372036854775808", "1a", "v2", "1.0", "٣", "0x1")
    folders(tmp_path, *names)
    (tmp_path / "99").write_text("a file, which fails to load")
    (tmp_path / "98").symlink_to("nowhere")
    expected = {-1: "-1", 7: "7", 98: "98", 99: "99", 123: "00000123", 9223372036854775807: "9223372036854775807"}
    assert found(tmp_path, All()) == expected
    assert found(tmp_path) == {9223372036854775807: "9223372036854775807"}


def test_a_link_to_a_folder_is_a_version(tmp_path: Path) -> None:
    folders(tmp_path, "elsewhere")
    (tmp_path / "5").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path) == {5: "5"}


def test_of_two_folders_with_one_number_one_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, "123", "00000123")
    assert found(tmp_path, All()) == {123: "123"}
    assert "Version 123 will be loaded from 123, 00000123 will be ignored" in caplog.text


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), [10]),
        (Latest(2), [9, 10]),
        (Latest(99), [2, 9, 10]),
        (All(), [2, 9, 10]),
        (Specific(frozenset({2, 10, 77})), [2, 10]),
        (Specific(frozenset()), []),
    ],
    ids=str,
)
def test_a_policy_chooses_among_the_versions(policy: Policy, expected: list[int]) -> None:
    assert choose(policy, [10, 2, 9]) == expected


def test_a_missing_base_path_ends_the_whole_poll(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = ModelConfig("there", str(folders(tmp_path / "there", "1")))
    away = ModelConfig("away", str(tmp_path / "away"))
    assert Source().poll([there, away]) is None
    assert f"Could not find base path {tmp_path / 'away'} for servable away" in caplog.text


def test_a_base_path_without_versions_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert found(tmp_path) == {}
    assert f"No versions of servable m found under base path {tmp_path}" in caplog.text


def test_an_absent_specific_version_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, "1")
    assert found(tmp_path, Specific(frozenset({1, 2}))) == {1: "1"}
    assert "Version 2 of servable m" in caplog.text


def test_a_problem_is_told_once_until_it_had_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, models = Source(), [ModelConfig("m", str(tmp_path / "m"))]
    for _ in range(3):
        source.poll(models)
    assert caplog.text.count("Could not find base path") == 1
    folders(tmp_path / "m", "1")
    assert source.poll(models) == {"m": {1: tmp_path / "m" / "1"}}
    (tmp_path / "m").rename(tmp_path / "away")
    source.poll(models)
    assert caplog.text.count("Could not find base path") == 2


@pytest.mark.parametrize(
    ("base_path", "expected"),
    [("/a/b", "/a/b"), ("file:///a/b", "/a/b"), ("file://host/a/b", "/a/b"), ("gs://bucket/a", "gs:/bucket/a")],
)
def test_a_file_uri_is_a_path(base_path: str, expected: str) -> None:
    assert str(local_path(base_path)) == expected
