"""The hash algorithms of file contents, by name, and how their digests are kept together."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

import xxhash


class Digest(Protocol):
    """What `hashlib` gives, and `xxhash`."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take more of the content."""

    def digest(self) -> bytes:
        """Return the digest of all that was taken; of xxh64 the number's bytes from the highest one on."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to hash a file."""

    number: int
    """Stands for it before a stored digest; never given to another algorithm."""
    digest_bytes: int
    make: Callable[..., Digest]
    """Called with nothing, or with the first of the content."""


def _openssl(name: str) -> Callable[..., Digest]:
    # Some, such as sha512_256, are known by OpenSSL alone; under FIPS md5 is allowed for what is not security.
    return partial(hashlib.new, name, usedforsecurity=False)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "md5": Algorithm(1, 16, partial(hashlib.md5, usedforsecurity=False)),
        "sha1": Algorithm(2, 20, partial(hashlib.sha1, usedforsecurity=False)),
        "sha224": Algorithm(3, 28, hashlib.sha224),
        "sha256": Algorithm(4, 32, hashlib.sha256),
        "sha384": Algorithm(5, 48, hashlib.sha384),
        "sha512": Algorithm(6, 64, hashlib.sha512),
        "sha512_224": Algorithm(7, 28, _openssl("sha512_224")),
        "sha512_256": Algorithm(8, 32, _openssl("sha512_256")),
        "sha3_224": Algorithm(9, 28, hashlib.sha3_224),
        "sha3_256": Algorithm(10, 32, hashlib.sha3_256),
        "sha3_384": Algorithm(11, 48, hashlib.sha3_384),
        "sha3_512": Algorithm(12, 64, hashlib.sha3_512),
        "blake2b_256": Algorithm(13, 32, partial(hashlib.blake2b, digest_size=32)),
        "blake2b_384": Algorithm(14, 48, partial(hashlib.blake2b, digest_size=48)),
        "blake2b_512": Algorithm(15, 64, hashlib.blake2b),
        "xxh64": Algorithm(16, 8, xxhash.xxh64),
    }
)
"""By the names that Auditbeat gives them."""

_BY_NUMBER = {algorithm.number: (name, algorithm.digest_bytes) for name, algorithm in ALGORITHMS.items()}


def is_available(name: str) -> bool:
    """Say whether this host's library really has the algorithm: FIPS builds and old OpenSSLs lack some."""
    try:
        ALGORITHMS[name].make()
    except (KeyError, ValueError):
        return False
    return True


def start_digests(names: Sequence[str]) -> list[Digest]:
    """Return one digest for each of *names*, to be fed with the same content."""
    return [ALGORITHMS[name].make() for name in names]


def hash_whole(names: Sequence[str], content: memoryview) -> bytes:
    """Return the digests of a content that is there as a whole, as `pack_digests` does."""
    algorithms = [ALGORITHMS[name] for name in names]
    return b"".join([b"%c%b" % (each.number, each.make(content).digest()) for each in algorithms])


def pack_digests(names: Sequence[str], digests: Sequence[Digest]) -> bytes:
    """Return the digests as one string of bytes: of each the algorithm's number (one byte), then the digest."""
    return b"".join(
        bytes((ALGORITHMS[name].number,)) + digest.digest() for name, digest in zip(names, digests, strict=True)
    )


def unpack_digests(packed: bytes) -> dict[str, str]:
    """Return the hexadecimal digests by the algorithms' names.

    Raises:
        ValueError: *packed* is not what `pack_digests` gives.
    """
    digests: dict[str, str] = {}
    position, end = 0, len(packed)
    while position < end:
        if packed[position] not in _BY_NUMBER:
            raise ValueError(f"no hash algorithm has the number {packed[position]}")
        name, length = _BY_NUMBER[packed[position]]
        start, position = position + 1, position + 1 + length
        if position > end:
            raise ValueError(f"the {name} digest is cut off")
        digests[name] = packed[start:position].hex()
    return digests
