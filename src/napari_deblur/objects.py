"""Object storage: how a bucket is reached, what its errors mean, and zarr on top of it.

Credentials come from where all tools for S3 look for them, and stay there: no error of a server,
which may quote them, is passed on as it is.
"""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from zarr.storage import ObjectStore

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["Objects", "connected", "disconnect", "explained"]

MISSING = (
    'addresses such as s3://… need packages that are not installed: pip install "napari-deblur[s3]"'
)
# A server that is away for longer than this stops the run, which can go on later.
PATIENCE = timedelta(seconds=90)
TRIES = 12
# For one request, so for one chunk: 64 MB at half a megabyte a second.
SLOWEST = timedelta(seconds=150)
RENEWED = timedelta(minutes=5)

METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
DENIED |= {"InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "AllAccessDisabled"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "StorageFull", "507"}
ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect"}


@lru_cache
def connected(scheme: str, bucket: str, prefix: str = "") -> Any:
    """Give this process's connection to a bucket or a host of the web, or to a part of it.

    Raises
    ------
    ValueError
        When the extra ``s3`` is not installed, or the standard settings can't be read.
    """
    try:
        from obstore.store import HTTPStore, S3Store
    except ModuleNotFoundError:
        raise ValueError(MISSING) from None
    client: Any = {"timeout": SLOWEST, "allow_http": True}
    retry: Any = {"retry_timeout": PATIENCE, "max_retries": TRIES}
    if scheme != "s3":
        url = f"{scheme}://{bucket}/{prefix}"
        return HTTPStore.from_url(url, client_options=client, retry_config=retry)
    endpoint, region, credentials = _settings()
    how: dict[str, Any] = {"skip_signature": True}
    if credentials is not None:
        how = {"credential_provider": credentials}
    client["allow_http"] = endpoint.startswith("http://")
    how |= {"endpoint": endpoint, "region": region, "virtual_hosted_style_request": False}
    return S3Store(bucket, prefix=prefix or None, client_options=client, retry_config=retry, **how)


@lru_cache(maxsize=1)
def _settings() -> tuple[str, str, Any]:
    """Give endpoint, region and credentials, if there are any, as all tools for AWS find them."""
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        raise ValueError(MISSING) from None
    said = ""
    try:
        session = botocore.session.Session()
        meta = session.create_client("s3").meta
        found = session.get_credentials()
    except (BotoCoreError, ValueError) as error:
        said = type(error).__name__  # its text may quote a file of credentials
    if said:
        raise ValueError(
            f"the settings for S3 cannot be read ({said}): check AWS_PROFILE, AWS_ENDPOINT_URL and "
            "the files in ~/.aws"
        )
    region = session.get_config_variable("region") or "us-east-1"
    return meta.endpoint_url, region, None if found is None else _Credentials(found)


def disconnect() -> None:
    """Forget all connections, and the settings that they were made with."""
    connected.cache_clear()
    _settings.cache_clear()


class _Credentials:
    """Those of a chain that knows how to renew them; asked again every few minutes."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def __call__(self) -> Any:
        now = self._found.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + RENEWED,
        }

    def __repr__(self) -> str:
        return "the standard credentials"


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what the store raises into an OSError in plain words, none of them the server's."""
    said: OSError | None = None
    try:
        yield
    except Exception as error:
        if not _is_foreign(error):
            raise
        said = _plain(error, address)
    if said is not None:
        raise said from None  # no traceback shows what it came from


def _is_foreign(error: Exception) -> bool:
    bare = isinstance(error, FileNotFoundError) and error.errno is None
    return bare or type(error).__module__.startswith("obstore")


def _plain(error: Exception, address: str) -> OSError:
    text, kind = str(error), type(error).__name__
    found = re.search(r"<Code>(\w{1,60})</Code>", text)
    status = re.search(r"status code: (\d{3})", text)
    code = found[1] if found else status[1] if status else ""
    more = f" ({code})" if code else ""
    if code == "NoSuchBucket":
        bucket = address.split("/")[2]
        return FileNotFoundError(errno.ENOENT, f'there is no bucket "{bucket}"', address)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is nothing", address)
    if kind == "AlreadyExistsError":
        return FileExistsError(errno.EEXIST, "there is something already", address)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or code in DENIED:
        return PermissionError(errno.EACCES, f"access is denied{more}", address)
    if code in FULL:
        return OSError(errno.ENOSPC, f"no space is left{more}", address)
    if code in ELSEWHERE or code == "301":
        where = re.search(r"<Region>([\w-]{1,30})</Region>", text)
        right = f"AWS_REGION={where[1]}" if where else "AWS_REGION to it"
        return OSError(errno.EACCES, f"the bucket is in another region, set {right}", address)
    said = f"the server does not do it{more}" if more else "the server gives no answer"
    return OSError(errno.EHOSTUNREACH, said, address)


class Objects(ObjectStore[Any]):  # type: ignore[misc]
    """What is below a name in a bucket, for zarr; a chunk is one request, whole or not at all.

    Parameters
    ----------
    scheme, bucket, prefix : str
        zarr writes groups above what it makes, but not above the place of its store.
    read_only : bool
    """

    def __init__(
        self,
        scheme: str,
        bucket: str,
        prefix: str,
        *,
        read_only: bool = False,
    ) -> None:
        super().__init__(connected(scheme, bucket, prefix), read_only=read_only)
        self.place = (scheme, bucket, prefix)
        self.denied: list[PermissionError] = []

    def with_read_only(self, read_only: bool = False) -> Objects:  # noqa: FBT001, FBT002 - zarr's
        """Give the same bucket for reading only, or not."""
        same = Objects(*self.place, read_only=read_only)
        same.denied = self.denied
        return same

    def __str__(self) -> str:
        return self._address("")

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "read_only": self.read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["place"], read_only=state["read_only"])  # type: ignore[misc]

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Get an object, or a part of it; None only if it is not there."""
        try:
            with explained(self._address(key)):
                found: Buffer | None = await super().get(key, prototype, byte_range)
                return found
        except PermissionError as error:
            if PurePosixPath(key).name not in METADATA:
                raise
            # Who may not list a bucket is told so of what is not there, and zarr tries many names.
            self.denied.append(error)
            return None

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        with explained(self._address(key)):
            return bool(await super().exists(key))

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object as a whole."""
        import obstore

        self._check_writable()
        raw = value.as_buffer_like()
        with explained(self._address(key)):
            # In pieces, a process that is killed would leave pieces that nobody sees, but pays for.
            await obstore.put_async(self.store, key, raw, use_multipart=False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Put an object if there is none."""
        with explained(self._address(key)):
            await super().set_if_not_exists(key, value)

    async def _list(self, prefix: str | None = None) -> AsyncGenerator[Any, None]:
        with explained(self._address(prefix or "")):
            async for one in super()._list(prefix):
                yield one

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Give the names right below a prefix."""
        with explained(self._address(prefix)):
            async for one in super().list_dir(prefix):
                yield one

    def _address(self, key: str) -> str:
        scheme, bucket, prefix = self.place
        return f"{scheme}://{bucket}/" + "/".join(part for part in (prefix, key) if part)
