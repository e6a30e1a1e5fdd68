"""What was put there last is kept, and never more than so much."""

from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.recent import Recent


def test_the_last_value_of_a_key_counts() -> None:
    recent: Recent[str, int] = Recent(4)
    recent.put("a", 1)
    recent.put("a", 2)

    assert recent.get("a") == 2


def test_what_was_dropped_or_never_put_is_not_there() -> None:
    recent: Recent[str, int] = Recent(4)
    recent.put("a", 1)
    recent.drop("a")
    recent.drop("b")

    assert (recent.get("a"), recent.get("b"), len(recent)) == (None, None, 0)


@given(st.integers(2, 20), st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_it_keeps_at_least_half_and_at_most_all(most: int, keys: list[int]) -> None:
    recent: Recent[int, int] = Recent(most)
    for number, key in enumerate(keys):
        recent.put(key, number)

    last = list(dict.fromkeys(reversed(keys)))
    assert len(recent) <= most
    assert [recent.get(key) is not None for key in last[: most // 2]] == [True] * len(last[: most // 2])


@given(st.lists(st.integers(0, 5)))
def test_no_older_value_comes_back(keys: list[int]) -> None:
    recent: Recent[int, int] = Recent(4)
    newest = {}
    for number, key in enumerate(keys):
        recent.put(key, number)
        newest[key] = number

    assert all(recent.get(key) in (None, number) for key, number in newest.items())
