"""Digests are those that others give, and come back from where they are stored."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common import hashes
from auditline.workers.common.hashes import (
    ALGORITHMS,
    Algorithm,
    Digest,
    is_available,
    pack_digests,
    start_digests,
    unpack_digests,
)

OF_NOTHING = {
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "sha224": "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha512_224": "6ed0dd02806fa89e25de060c19d3ac86cabb87d6a0ddd05c333b84f4",
    "sha512_256": "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a",
    "sha3_224": "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7",
    "sha3_256": "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
    "blake2b_256": "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
    "xxh64": "ef46db3751d8e999",
}
"""As the standards, and the algorithms' authors, publish them."""
OF_A = {"xxh64": "d24ec4f1a98c6e5b", "md5": "0cc175b9c0f1b6a831c399e269772661"}

algorithms = st.lists(st.sampled_from(list(ALGORITHMS)), unique=True)


def digests_of(content: bytes, *names: str) -> dict[str, str]:
    digests = start_digests(names)
    for digest in digests:
        digest.update(content)
    return unpack_digests(pack_digests(names, digests))


def test_there_are_the_sixteen_of_auditbeat_and_each_has_its_own_number():
    assert len(ALGORITHMS) == 16
    assert sorted(algorithm.number for algorithm in ALGORITHMS.values()) == list(range(1, 17))


def test_digests_of_nothing_are_those_that_are_published():
    assert digests_of(b"", *OF_NOTHING) == OF_NOTHING


def test_digests_of_a_letter_are_those_that_are_published():
    assert digests_of(b"a", *OF_A) == OF_A


@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_the_command_of_coreutils_says_the_same(name: str):
    command = shutil.which(f"{name}sum")
    if command is None:
        pytest.skip("coreutils are not installed")

    printed = subprocess.run([command], input=b"content", capture_output=True, check=True).stdout

    assert digests_of(b"content", name)[name] == printed.split()[0].decode()


@given(names=algorithms, content=st.binary(max_size=500), cut=st.integers(0, 500))
def test_a_content_in_pieces_has_the_digests_of_the_whole(names: list[str], content: bytes, cut: int):
    digests = start_digests(names)
    for digest in digests:
        digest.update(memoryview(content)[:cut])
    pack_digests(names, digests)  # to look at them halfway changes nothing
    for digest in digests:
        digest.update(memoryview(content)[cut:])

    assert unpack_digests(pack_digests(names, digests)) == digests_of(content, *names)


@given(algorithms)
def test_each_digest_has_the_length_that_is_said(names: list[str]):
    found = digests_of(b"", *names)

    assert {name: len(digest) // 2 for name, digest in found.items()} == {
        name: ALGORITHMS[name].digest_bytes for name in names
    }


@given(st.binary(max_size=100))
def test_damaged_digests_are_an_error_or_digests(packed: bytes):
    try:
        found = unpack_digests(packed)
    except ValueError:
        return

    assert sum(1 + len(digest) // 2 for digest in found.values()) <= len(packed)


def test_what_the_library_refuses_is_not_available(monkeypatch: pytest.MonkeyPatch):
    """Pitfall 60."""

    def refuse() -> Digest:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(hashes, "ALGORITHMS", {**ALGORITHMS, "md5": Algorithm(1, 16, refuse)})

    assert (is_available("md5"), is_available("sha256"), is_available("rot13")) == (False, True, False)
