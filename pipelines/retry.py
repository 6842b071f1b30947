"""Which failures of a store are worth waiting out, for how long, and what the others are called."""

from __future__ import annotations

import errno
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from pipelines.redaction import redact

T = TypeVar("T")
logger = logging.getLogger(__name__)


class StorageError(Exception):
    """A read or write that failed; the message names the object and holds no secret."""


class ObjectMissing(StorageError):
    """There is no such object (404)."""


class AccessDenied(StorageError):
    """The store refuses these credentials, or there are none (403)."""


class StorageUnavailable(StorageError):
    """Still failing after the last retry: overload, time-outs, broken connections, short reads."""


@dataclass(frozen=True)
class Retry:
    """How long a transient failure is waited out. Waits double from `first_seconds`, each drawn from [half, whole]."""

    deadline_seconds: float = 300.0
    attempts: int = 30
    first_seconds: float = 0.2
    longest_seconds: float = 20.0

    def waits(self) -> Iterator[float]:
        jitter = random.Random(secrets.randbits(64))  # workers that failed together must not come back together
        for attempt in range(self.attempts - 1):
            yield min(self.first_seconds * 2**attempt, self.longest_seconds) * jitter.uniform(0.5, 1.0)


class Kind(Enum):
    """What a failure asks for."""

    TRANSIENT = auto()
    EXPIRED = auto()  # credentials that may be good after they are read again
    DENIED = auto()
    MISSING = auto()
    PERMANENT = auto()
    BUG = auto()  # not a failure of the store at all


def retrying(what: str, call: Callable[[], T], *, retry: Retry, renew: Callable[[], None]) -> T:
    """Calls until it succeeds, waiting out transient failures within the limits of `retry`.

    `renew` drops the connection, so that the next call reads the credentials again; that is tried once. Any other
    failure of the store is raised at once as one of the errors above, with `what` in its message.
    """
    deadline = time.monotonic() + retry.deadline_seconds
    waits = retry.waits()
    renewed = False
    while True:
        try:
            return call()
        except Exception as error:
            kind = classify(error)
            if kind is Kind.BUG:
                raise
            if kind is Kind.EXPIRED and not renewed:
                renewed, wait = True, 0.0
                renew()
            else:
                wait = next(waits, None) if kind is Kind.TRANSIENT else None
            if wait is None or time.monotonic() + wait > deadline:
                raise _translate(error, kind, what) from None
            logger.warning("%s; again in %.1f s", redact(f"cannot {what} ({error!r})"), wait)
        time.sleep(wait)


def classify(error: BaseException) -> Kind:
    """The kind of a failure, by the answer of the store when there is one, else by the type of the exception."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return _classify_answer(response)
        cause = cause.__cause__
    return _classify_type(error)


_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_TRANSIENT_CODES = frozenset(
    "SlowDown RequestTimeout InternalError ServiceUnavailable Throttling ThrottlingException RequestLimitExceeded "
    "OperationAborted IncompleteBody BadDigest XAmzContentSHA256Mismatch".split()
)
_TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "EIO ESTALE EAGAIN EBUSY ETIMEDOUT ENETDOWN ENETUNREACH EHOSTUNREACH EREMOTEIO".split()
    if hasattr(errno, name)
)


def _classify_answer(response: dict[str, Any]) -> Kind:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED_CODES:
        return Kind.EXPIRED
    if code in _TRANSIENT_CODES or status == 429 or (status >= 500 and status != 501):
        return Kind.TRANSIENT
    if status in (401, 403):
        return Kind.DENIED
    return Kind.MISSING if status == 404 else Kind.PERMANENT


def _classify_type(error: BaseException) -> Kind:
    import aiohttp
    from botocore import exceptions as boto

    if isinstance(error, PermissionError):
        return Kind.DENIED
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return Kind.MISSING
    # Metadata services of cloud machines fail under load and then look like a machine without credentials.
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return Kind.EXPIRED
    if isinstance(error, boto.SSLError):
        return Kind.PERMANENT
    if isinstance(error, TimeoutError | ConnectionError | boto.ConnectionError | boto.HTTPClientError):
        return Kind.TRANSIENT
    if isinstance(error, aiohttp.ClientError):
        return Kind.TRANSIENT
    if isinstance(error, OSError):
        return Kind.TRANSIENT if error.errno in _TRANSIENT_ERRNOS else Kind.PERMANENT
    return Kind.PERMANENT if isinstance(error, boto.BotoCoreError) else Kind.BUG


def _translate(error: Exception, kind: Kind, what: str) -> StorageError:
    detail, what = redact(str(error) or type(error).__name__), redact(what)
    if kind is Kind.MISSING:
        return ObjectMissing(f"cannot {what}: there is no such object ({detail})")
    if kind in (Kind.DENIED, Kind.EXPIRED):
        return AccessDenied(
            f"cannot {what}: access denied ({detail}); check the permissions of the file, "
            "or the AWS credentials, their expiry and the policy of the bucket"
        )
    if kind is Kind.TRANSIENT:
        return StorageUnavailable(f"cannot {what}: the store still fails after the last retry ({detail})")
    return StorageError(f"cannot {what}: {detail}")
