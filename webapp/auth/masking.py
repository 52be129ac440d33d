"""Nothing secret in any log: each record is masked where it is made, before any handler sees it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from webapp.settings import WebSettings

MASK = "•••"
# What follows a telling name, in headers, JSON, forms and Python's own notation; and JWTs wherever they are.
TELLING = re.compile(
    r"""(?ix)
    ( (?: set-cookie2? | cookie | (?:proxy-)?authorization ) ["']? \s* [:=,] \s* ["']? ) [^\r\n"']+
    | ( (?: \w*(?:password|passwd|secret(?:_key)?|csrf_token) | (?:access|refresh)(?:_token)? ) ["']?
        \s* [:=] \s* b?["']? )
      (?: (?<=["']) [^"'\r\n]* | [^\s"'&,;)}\]]+ )
    | ( \b bearer \s+ ) [\w.~+/=-]+
    | \b eyJ[\w-]+ \. [\w-]+ (?: \.[\w-]* )?
    """
)
_FORMAT = logging.Formatter()


class MaskingFilter(logging.Filter):
    """Mask what is known to be secret, and what looks so, in a record's text and in its traceback."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.secrets = {secret for secret in secrets if secret}

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record in place; it always passes."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # they do not fit; logging would print them as they are
            text = f"{record.msg} {record.args}"
        record.msg, record.args = self.masked(text), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = self.masked(_FORMAT.formatException(record.exc_info))
        return True

    def masked(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return TELLING.sub(lambda match: (match[1] or match[2] or match[3] or "") + MASK, text)


_filter = MaskingFilter()  # one for the process, as logging is


def install(settings: WebSettings) -> None:
    """Mask all records from now on, whatever logger and handler they go through."""
    secrets = (settings.secret_key, settings.previous_secret_key, settings.database_url, settings.metrics_token)
    _filter.secrets |= {secret.get_secret_value() for secret in secrets}
    _filter.secrets -= {""}
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def masking(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        _filter.filter(record)
        return record

    masking.masks = True  # type: ignore[attr-defined]  # so that it is done once
    logging.setLogRecordFactory(masking)
