"""What can stand between somebody and a page or an answer."""

from __future__ import annotations

import math

from common.errors import DataError, VouchError


class NotAuthenticated(VouchError):
    """Nobody knows who is asking: no credential, or one that is wrong, expired or revoked."""

    http_status = 401


class Forbidden(VouchError):
    """It is known who is asking, and that they may not."""

    http_status = 403


class NoSuchUser(DataError):
    """There is no user of that name."""

    http_status = 404


class TooManyAttempts(VouchError):
    """Too often in too short a time; `retry_after_s` says when it may work again."""

    http_status = 429

    def __init__(self, what: str, *, retry_after_s: float, fix: str = "") -> None:
        super().__init__(what, fix=fix or f"wait {max(1, math.ceil(retry_after_s))} s, then try again")
        self.retry_after_s = retry_after_s
