"""A crashed service comes back at once, unless it crashes all the time."""

from services.cli.restarts import RestartPolicy


def test_policy_restarts_at_once_for_five_crashes_within_a_minute() -> None:
    policy = RestartPolicy()

    delays = [policy.delay_s(ran_s=4.0) for _ in range(5)]

    assert max(delays) <= 0.2


def test_policy_then_doubles_from_one_to_thirty_seconds() -> None:
    policy = RestartPolicy()

    delays = [policy.delay_s(ran_s=0.1) for _ in range(13)][5:]

    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]


def test_policy_stays_at_the_longest_wait_however_long_it_waited() -> None:
    policy = RestartPolicy()

    delays = [policy.delay_s(ran_s=0.5) for _ in range(110)]

    assert set(delays[10:]) == {30}


def test_policy_restarts_at_once_again_after_a_minute_of_running() -> None:
    policy = RestartPolicy()
    for _ in range(9):
        policy.delay_s(ran_s=0.1)

    delay = policy.delay_s(ran_s=61.0)

    assert delay <= 0.2
