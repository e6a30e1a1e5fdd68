"""What is remembered of parts of records, and left alone where it never comes again."""

import pytest

from auditline.workers.router.render.memo import MEMO_ENTRIES, TRIAL_USES, Memo


class Made:
    """Makes texts, and knows how many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, part: str) -> str:
        self.count += 1
        return f"<{part}>"


@pytest.fixture
def made() -> Made:
    return Made()


def find_new(memo: Memo[str, str], first: int, count: int) -> None:
    for number in range(first, first + count):
        memo.find(str(number))


def test_what_comes_again_is_made_once(made: Made):
    memo = Memo(made)

    assert [memo.find("a"), memo.find("a"), memo.find("b")] == ["<a>", "<a>", "<b>"]
    assert made.count == 2


def test_it_forgets_all_when_it_is_full(made: Made):
    memo = Memo(made)

    find_new(memo, 0, MEMO_ENTRIES + 1)

    assert len(memo) == 1


def test_what_never_comes_again_is_no_longer_remembered(made: Made):
    memo = Memo(made)
    find_new(memo, 0, TRIAL_USES)
    memo.reconsider(TRIAL_USES)

    assert memo.find("a") == memo.find("a") == "<a>"
    assert made.count == TRIAL_USES + 2
    assert not memo


def test_what_comes_again_at_times_is_remembered_on(made: Made):
    memo = Memo(made)
    find_new(memo, 0, TRIAL_USES // 2)
    memo.reconsider(TRIAL_USES)

    memo.find("0")

    assert made.count == TRIAL_USES // 2


def test_what_was_left_alone_is_tried_again_after_a_while(made: Made):
    memo = Memo(made)
    find_new(memo, 0, TRIAL_USES)
    for _ in range(20):
        memo.reconsider(TRIAL_USES)

    memo.find("a")

    assert "a" in memo
