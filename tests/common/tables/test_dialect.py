from __future__ import annotations

import pytest

from common.tables.dialect import Dialect, find_dialect
from common.tables.encoding import UnreadableTable


@pytest.mark.parametrize(
    ("head", "dialect"),
    [
        (b"a,b\n1,2\n", Dialect(",", ("a", "b"), 1)),
        (b"a;b\n1,5;2,5\n", Dialect(";", ("a", "b"), 1)),
        (b"a,b;c\n1;2\n3;4\n", Dialect(";", ("a,b", "c"), 1)),
        (b"a\tb\n", Dialect("\t", ("a", "b"), 1)),
        (b"a|b\r\n1|2\r\n", Dialect("|", ("a", "b"), 1)),
        (b"text\nhello, world\n", Dialect(";", ("text",), 1)),
        (b"a;b;c\n1\n2\n3\n", Dialect(";", ("a", "b", "c"), 1)),
        (b"\n \r\na,b\n", Dialect(",", ("a", "b"), 3)),
        (b"sep=;\na,b;c\n", Dialect(";", ("a,b", "c"), 2)),
        (b'"sep=\t"\r\na\tb\r\n', Dialect("\t", ("a", "b"), 2)),
        (b"SEP=,,,\na,b\n", Dialect(",", ("a", "b"), 2)),
        (b"# one, two, three\n#\n\na,b\n1,2\n", Dialect(",", ("a", "b"), 4)),
        (b"# by me\n#,Name,Type\n1,Bulbasaur,Grass\n", Dialect(",", ("#", "Name", "Type"), 2)),
        (b"# a, b\na,b\n1,2\n", Dialect(",", ("a", "b"), 2)),
        (b'"#a",b\n1,2\n', Dialect(",", ("#a", "b"), 1)),
        (b'"a\n""x""",b\n1,2\n', Dialect(",", ('a\n"x"', "b"), 1)),
        (b"a,,b,\n1,2,3,\n", Dialect(",", ("a", "", "b", ""), 1)),
        (b"a,b,\n1,2\n", Dialect(",", ("a", "b"), 1)),
        (b"x" * 200_000 + b";y\n1;2\n", Dialect(",", (), 1)),
    ],
    ids=str,
)
def test_the_head_says_how_the_file_is_written(head: bytes, dialect: Dialect) -> None:
    if not dialect.names:
        with pytest.raises(UnreadableTable, match="the header cannot be read"):
            find_dialect(head, "rows.csv")
    else:
        assert find_dialect(head, "rows.csv") == dialect


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"", "rows.csv:1: the file is empty"),
        (b"\n# nothing\n", "the file is empty"),
        (b"sep=;\n", "the file is empty"),
        (b",,\n1,2,3\n", "rows.csv:1: no column has a name"),
        (b"\na,b,a\n", "rows.csv:2: column 'a' stands 2 times"),
    ],
)
def test_a_header_that_will_not_do_is_told(head: bytes, told: str) -> None:
    with pytest.raises(UnreadableTable, match=told):
        find_dialect(head, "rows.csv")


def test_another_delimiter_than_the_one_given_is_told() -> None:
    assert find_dialect(b"a;b\n1;2\n", "rows.csv", ";").delimiter == ";"
    assert find_dialect(b"text\na;b\n", "rows.csv", ",").names == ("text",)
    with pytest.raises(UnreadableTable, match=r"rows.csv:2: the delimiter is another.*\n.*\n.*2 columns.*\n.*data.del"):
        find_dialect(b"sep=;\na;b\n1;2\n", "rows.csv", ",")


def test_names_that_are_known_lose_the_blanks_around_them() -> None:
    dialect = find_dialect(b"id, age,  bmi , other\n", "rows.csv").matched(["age", "bmi", "id"])
    assert dialect.names == ("id", "age", "bmi", " other")
    assert find_dialect(b" a,a\n", "rows.csv").matched(["a"]).names == (" a", "a")


def test_columns_without_a_name_get_one() -> None:
    dialect = find_dialect(b",a\n", "rows.csv")
    assert dialect.columns == ["(unnamed column 1)", "a"]
    assert dialect.unnamed == {"(unnamed column 1)"}
