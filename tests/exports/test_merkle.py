"""Roots and proofs: equal to the definition in RFC 6962, and every change of the records shows."""

from __future__ import annotations

import hashlib
import json

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reasonmed_verify.manifest import root_of_sets
from reasonmed_verify.merkle import MerkleTree, root_from_proof
from reasonmed_verify.records import record_bytes

LEAVES = st.lists(st.binary(max_size=12), max_size=40)
SOME = st.lists(st.binary(max_size=12), min_size=1, max_size=40)
TWO = st.lists(st.binary(max_size=12), min_size=2, max_size=40)


def root_of(leaves: list[bytes]) -> bytes:
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def defined_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*defined_path(index, leaves[:k]), defined_root(leaves[k:])]
    return [*defined_path(index - k, leaves[k:]), defined_root(leaves[:k])]


def split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def prove(leaves: list[bytes], index: int) -> list[bytes]:
    tree = MerkleTree(watch=index)
    for leaf in leaves:
        tree.add(leaf)
    return tree.proof()


@given(LEAVES)
@settings(deadline=None)
def test_the_root_is_the_one_defined(leaves):
    assert root_of(leaves) == defined_root(leaves)


@given(LEAVES, st.integers(1, 9))
@settings(deadline=None)
def test_leaves_may_come_in_any_portions(leaves, portion):
    tree = MerkleTree()
    for start in range(0, len(leaves), portion):
        tree.extend(leaves[start : start + portion])

    assert (tree.size, tree.root()) == (len(leaves), defined_root(leaves))


def test_published_roots():
    """The test vectors of Google's Certificate Transparency implementation."""
    leaves = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "60")]
    leaves[7] = bytes(range(0x60, 0x70))

    assert root_of(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(SOME, st.data())
@settings(deadline=None)
def test_a_proof_is_the_one_defined_and_leads_to_the_root(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))

    path = prove(leaves, index)

    assert path == defined_path(index, leaves)
    assert root_from_proof(leaves[index], index=index, size=len(leaves), path=path) == root_of(leaves)


@given(SOME, st.data())
@settings(deadline=None)
def test_a_changed_record_changes_the_root(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.binary(max_size=12))
    assume(other != leaves[index])

    assert root_of([*leaves[:index], other, *leaves[index + 1 :]]) != root_of(leaves)


@given(SOME, st.data())
@settings(deadline=None)
def test_a_dropped_or_doubled_record_changes_the_root(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))

    assert root_of([*leaves[:index], *leaves[index + 1 :]]) != root_of(leaves)
    assert root_of([*leaves[: index + 1], *leaves[index:]]) != root_of(leaves)


@given(TWO, st.data())
@settings(deadline=None)
def test_two_swapped_records_change_the_root(leaves, data):
    first, second = sorted(data.draw(st.sets(st.integers(0, len(leaves) - 1), min_size=2, max_size=2)))
    assume(leaves[first] != leaves[second])
    swapped = list(leaves)
    swapped[first], swapped[second] = leaves[second], leaves[first]

    assert root_of(swapped) != root_of(leaves)


@given(SOME, st.data())
@settings(deadline=None)
def test_a_forged_proof_does_not_lead_to_the_root(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, size, root = prove(leaves, index), len(leaves), root_of(leaves)
    other = data.draw(st.binary(max_size=12).filter(lambda leaf: leaf != leaves[index]))
    place = data.draw(st.integers(-1, size + 2).filter(lambda n: n != index))

    assert root_from_proof(other, index=index, size=size, path=path) != root
    assert root_from_proof(leaves[index], index=index, size=size, path=[*path, root]) != root
    if 0 <= place < size and leaves[place] != leaves[index]:
        assert root_from_proof(leaves[index], index=place, size=size, path=path) != root
    if path:
        broken = data.draw(st.integers(0, len(path) - 1))
        assert root_from_proof(leaves[index], index=index, size=size, path=path[:-1]) != root
        bent = [*path[:broken], bytes(32), *path[broken + 1 :]]
        assert root_from_proof(leaves[index], index=index, size=size, path=bent) != root


@given(TWO)
@settings(deadline=None)
def test_an_inner_node_cannot_be_passed_off_as_a_record(leaves):
    hashes = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    k = split(len(leaves))
    inner = defined_root(leaves[:k]) + defined_root(leaves[k:])

    assert root_of([inner]) != root_of(leaves)
    assert root_of(hashes) != root_of(leaves)


@pytest.mark.parametrize(("watch", "leaves"), [(None, 3), (3, 3), (0, 0), (-1, 2)])
def test_there_is_no_proof_of_a_record_that_is_not_there(watch, leaves):
    tree = MerkleTree(watch=watch)
    for n in range(leaves):
        tree.add(bytes([n]))

    with pytest.raises(ValueError, match="watched"):
        tree.proof()


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_place_outside_the_tree_is_never_proven(index, size):
    assert root_from_proof(b"", index=index, size=size, path=[]) is None


@given(st.dictionaries(st.text(max_size=5), st.text(), max_size=4))
@settings(deadline=None)
def test_a_record_is_hashed_as_the_line_that_leaves(record):
    assert record_bytes(record) == orjson.dumps(record)
    assert json.loads(record_bytes(record)) == record


def test_the_root_over_sets_knows_their_names_counts_and_order():
    sets = [("cotmed", 3, "aa"), ("provenance", 3, "bb")]
    changed = [
        sets[::-1],
        [("other", 3, "aa"), sets[1]],
        [("cotmed", 4, "aa"), sets[1]],
        [("cotmed", 3, "ab"), sets[1]],
    ]

    roots = {root_of_sets(s) for s in [sets, *changed]}

    assert len(roots) == 5
