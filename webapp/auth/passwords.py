"""Passwords: what is good enough, and their Argon2id hashes."""

from __future__ import annotations

import threading
import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from common.errors import DataError

MINIMUM_CHARACTERS = 12
MAXIMUM_BYTES = 1024
MINIMUM_DIFFERENT = 5
AT_A_TIME = 4  # hashes in one process: memory stays bounded however many try to log in
# The commonest of public lists of leaked passwords that are long enough to pass the first rule.
COMMONEST = """
    123456789012 1234567890123 12345678901234 123456789123 123123123123 qwertyuiop12 qwertyuiop123
    qwertyuiopasdf qwertyuiop[] 1qaz2wsx3edc 1q2w3e4r5t6y password1234 password12345 password123456
    passwordpassword password123! passw0rd1234 administrator administrator1 letmein12345 welcome12345
    iloveyou1234 changeme1234 changemeplease correcthorsebatterystaple abcdefghijkl abcdefghijklm
    abcd12345678 abc123456789 q1w2e3r4t5y6 unitedstates manchesterunited liverpoolfc123 masterofpuppets
    trustno1trustno1 zaq12wsxcde3 asdfghjkl123 zxcvbnm12345 hellohello12 monkeymonkey sunshine1234
    princess1234 football1234 superman1234 michael12345 secretsecret vouchvouchvouch breastcancer
    breast_cancer
"""


def checked(name: str, password: str) -> str:
    """Return a password that is good enough for this user. Raises DataError, which never says the password."""
    plain = _plain(password)
    folded = plain.casefold()
    if len(plain) < MINIMUM_CHARACTERS:
        raise DataError("the password is too short", wanted=f"at least {MINIMUM_CHARACTERS} characters")
    if len(_encoded(plain)) > MAXIMUM_BYTES:
        raise DataError("the password is too long", wanted=f"at most {MAXIMUM_BYTES} bytes")
    if folded == name.casefold():
        raise DataError("the password is the user's name", wanted="something that nobody else knows")
    if folded in COMMONEST.split() or len(set(folded)) < MINIMUM_DIFFERENT:
        raise DataError("the password is one of those that are tried first", wanted="something less common")
    return plain


class Passwords:
    """Hash and verify. The default cost is above OWASP's least for Argon2id: some 40 ms and 32 MiB a hash."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 32 * 1024) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._turn = threading.BoundedSemaphore(AT_A_TIME)

    def hash(self, password: str) -> str:
        """Return the hash with its salt and parameters, as `$argon2id$…`."""
        with self._turn:
            return self._hasher.hash(_encoded(_plain(password)))

    def matches(self, stored: str | None, password: str) -> bool:
        """Tell whether it is the password. Without a stored hash it takes as long, and is no."""
        candidate = _encoded(_plain(password[: MAXIMUM_BYTES + 1]))
        try:
            with self._turn:
                is_right = self._hasher.verify(stored or self._nobodys, candidate)
        except (VerificationError, InvalidHashError):
            return False
        return bool(is_right and stored and len(candidate) <= MAXIMUM_BYTES)

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash was made with other parameters than these."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(b"nobody has this password")


def _plain(password: str) -> str:
    return unicodedata.normalize("NFKC", password)  # the same keys give the same text on every system


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # JSON can carry half a surrogate pair
