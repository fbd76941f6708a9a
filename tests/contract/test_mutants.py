"""The contract suite is tested itself: so many stores that break a promise each are caught by it."""

from tests.contract import (
    test_audit_log,
    test_memory_store_finding_mutants,
    test_memory_store_moving_mutants,
    test_memory_store_mutants,
    test_operation_store,
    test_quota_store,
    test_retention_store,
    test_subject_store,
)

PROMISED = 30


def test_enough_broken_stores_are_caught() -> None:
    caught = [
        *test_memory_store_mutants.MUTANTS,
        *test_memory_store_finding_mutants.MUTANTS,
        *test_memory_store_finding_mutants.DELETERS,
        *test_memory_store_moving_mutants.CAUGHT,
        *test_audit_log.CAUGHT,
        *test_operation_store.CAUGHT,
        *test_quota_store.CAUGHT,
        *test_retention_store.CAUGHT,
        *test_subject_store.CAUGHT,
    ]
    mutants = {mutant for mutant, _ in caught}

    print(f"{len(mutants)} mutants, {len(caught)} promises that they break")  # noqa: T201  # asked for
    assert len(mutants) >= PROMISED
