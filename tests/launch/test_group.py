"""Which process this is, by what a launcher says, and how processes share the pieces of a job."""

from __future__ import annotations

import pytest

from mousai.launch.group import Launch, Place, launched, shared


def test_the_place_of_a_process() -> None:
    assert Place.found({}) == Place()
    assert Place.found({"WORLD_SIZE": "1", "RANK": "0"}) == Place()
    assert Place.found({"WORLD_SIZE": "4", "RANK": "2"}) == Place(2, 4, True)
    array = {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_STEP": "2"}
    assert Place.found(array) == Place(3, 4)
    assert Place.found({"SLURM_ARRAY_TASK_ID": "3"}).world == 1


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_are_disjoint_and_every_process_ends_with_all(world: int) -> None:
    orders = [shared(list("abcde"), Place(rank, world)) for rank in range(world)]
    assert all(sorted(order) == list("abcde") for order in orders)
    assert [order[0] for order in orders[:5]] == list("abcde")[:world]


def test_one_process_has_nobody_to_wait_for() -> None:
    with launched(Place()) as launch:
        assert type(launch) is Launch and launch.gather({"a": 1}) == [{"a": 1}] and launch.device_of("cuda") == "cuda"
