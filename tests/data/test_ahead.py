"""Reading ahead: in order, at the same time, within bounds; and groups of one kind."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from mousai.data.ahead import ahead, alike


def test_results_come_in_order_and_the_next_ones_are_under_way():
    started = [threading.Event() for _ in range(6)]

    def work(index):
        started[index].set()
        return index

    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, ((1, partial(work, index)) for index in range(6)), most=3, limit=100)
        assert next(results) == 0
        assert all(event.wait(10) for event in started[:3])  # while nobody asks for them
        assert not any(event.is_set() for event in started[4:])
        assert list(results) == [1, 2, 3, 4, 5]


def test_what_waits_is_bounded_but_one_result_of_any_size_comes():
    asked = []

    def calls():
        for size in (5, 5, 5, 50, 5):
            asked.append(size)
            yield size, partial(lambda size: size, size)

    with ThreadPoolExecutor(1) as pool:
        results = ahead(pool, calls(), most=10, limit=10)
        assert next(results) == 5 and len(asked) == 3  # the third is what did not fit
        assert [next(results), next(results)] == [5, 5] and len(asked) == 4
        assert list(results) == [50, 5]


def test_an_error_comes_where_its_result_would_and_the_rest_is_given_up():
    done = []
    with ThreadPoolExecutor(1) as pool:
        results = ahead(pool, ((1, partial(done.append if index != 2 else int, "x" if index == 2 else index)) for index in range(9)), most=4, limit=100)
        assert [next(results), next(results)] == [None, None]
        with pytest.raises(ValueError, match="invalid literal"):
            next(results)
    assert 8 not in done


def test_groups_are_of_one_kind_each_as_soon_as_it_is_full():
    words = ["a", "bb", "c", "dd", "eee", "f", "gg"]
    groups = list(alike(iter(words), len, len, most=2, limit=100))
    assert groups == [["a", "c"], ["bb", "dd"], ["eee"], ["f"], ["gg"]]
    assert list(alike(words, len, len, most=1, limit=0)) == [[word] for word in words]
    assert list(alike(words, len, len, most=5, limit=4)) == [["a", "c"], ["bb", "dd"], ["eee"], ["f"], ["gg"]]  # the fullest goes first
