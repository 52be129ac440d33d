"""What the two sides of a decoder say to each other, and what is not believed of it."""

from __future__ import annotations

import io

import pytest

from webapp.images.frames import MAX_HEAD_BYTES, Ended, receive, send


def test_what_is_sent_is_received() -> None:
    stream = io.BytesIO()
    send(stream, {"cells": 7}, [b"one\n", b"", b"three"])
    send(stream, {}, [])
    stream.seek(0)
    head, parts = receive(stream)
    assert (head["cells"], parts) == (7, [b"one\n", b"", b"three"])
    assert receive(stream)[1] == []
    with pytest.raises(Ended):
        receive(stream)


@pytest.mark.parametrize(
    "said",
    [
        b'{"sizes": [4]}\nabc',
        b'{"sizes": [-1]}\n',
        b'{"sizes": [99999999999]}\n',
        b'{"sizes": 4}\nabcd',
        b"{}\n",
        b"[]\n",
        b"no JSON\n",
        b'{"sizes": [], "what": "' + b"x" * MAX_HEAD_BYTES + b'"}\n',
        b"[" * MAX_HEAD_BYTES,
    ],
    ids=["short", "negative", "too much", "no list", "no sizes", "no object", "no JSON", "a long line", "deep"],
)
def test_what_nobody_would_say_ends_it(said: bytes) -> None:
    with pytest.raises(Ended):
        receive(io.BytesIO(said))
