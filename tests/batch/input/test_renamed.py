"""An answer whose row is gone is given to a row with the same request, once."""

from __future__ import annotations

from callgate.batch.input.renamed import RenamedRows, digest_of


def test_each_answer_is_given_to_one_row_in_their_order() -> None:
    renamed = RenamedRows([(10, [1]), (11, [2, 1]), (12, [1]), (10, [3])], [(1, 1), (2, 1), (3, 3), (4, 4)])
    assert len(renamed) == 3
    for _ in range(2):
        former = renamed.reader()
        assert [former(key) for key in (10, 11, 12, 10, 10, 99)] == [1, 2, 12, 3, 10, 99]


def test_without_answers_no_row_has_another_key() -> None:
    renamed = RenamedRows([(10, [1])], [])
    assert (len(renamed), renamed.reader()(10)) == (0, 10)


def test_equal_fingerprints_have_equal_digests() -> None:
    assert digest_of(b"{}") == digest_of(b"{}") != digest_of(b"[]")
