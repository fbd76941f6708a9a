"""Page tokens: they open for the same caller, request and hour, and for nobody else."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.domain.paging import LIFE_S, MAX_TOKEN_LENGTH, InvalidPageToken, Pager
from services.mesh.caller import Caller

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGER = Pager(bytes(range(32)))
ANN = Caller("ann", frozenset({"NURSE"}))
REQUEST = {"rpc": "ListMemories", "bucket": "b"}
STATE = {"after": "m1", "snapshot": 7}
TOKEN = PAGER.seal(ANN, REQUEST, STATE, NOW)


def refused(
    token: str,
    caller: Caller = ANN,
    request: dict[str, object] | None = None,
    now: datetime = NOW,
    pager: Pager = PAGER,
) -> str:
    with pytest.raises(InvalidPageToken) as error:
        pager.open(token, caller, REQUEST if request is None else request, now)
    assert [violation.field for violation in error.value.violations] == ["page_token"]
    assert (error.value.code, error.value.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
    return error.value.message


def test_token_opens_for_the_same_caller_and_request() -> None:
    assert PAGER.open(TOKEN, ANN, dict(reversed(REQUEST.items())), NOW) == STATE


def test_token_opens_on_another_instance_and_after_a_restart() -> None:
    assert Pager(bytes(range(32))).open(TOKEN, ANN, REQUEST, NOW) == STATE


def test_token_opens_when_the_callers_roles_or_client_changed() -> None:
    assert PAGER.open(TOKEN, Caller("ann", frozenset(), "cli"), REQUEST, NOW) == STATE


def test_token_is_base64url_without_padding_and_hides_its_state() -> None:
    assert set(TOKEN) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert b"m1" not in base64.urlsafe_b64decode(TOKEN + "==")


def test_two_tokens_of_one_state_differ() -> None:
    assert PAGER.seal(ANN, REQUEST, STATE, NOW) != TOKEN


def test_token_of_another_caller_is_refused() -> None:
    refused(TOKEN, Caller("bob", ANN.roles))


@pytest.mark.parametrize(
    "request_",
    [{"rpc": "ListMemories", "bucket": "c"}, {"rpc": "SearchMemories", "bucket": "b"}, {"rpc": "ListMemories"}, {}],
)
def test_token_of_another_request_is_refused(request_: dict[str, object]) -> None:
    refused(TOKEN, request=request_)


def test_token_of_another_store_is_refused() -> None:
    refused(TOKEN, pager=Pager(bytes(32)))


def test_token_lives_for_an_hour() -> None:
    assert PAGER.open(TOKEN, ANN, REQUEST, NOW + timedelta(seconds=LIFE_S)) == STATE
    assert "expired" in refused(TOKEN, now=NOW + timedelta(seconds=LIFE_S, microseconds=1))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(TOKEN[:-1], id="cut-by-one"),
        pytest.param(TOKEN[:8], id="cut-within-the-nonce"),
        pytest.param(TOKEN[:16], id="nonce-alone"),
        pytest.param(TOKEN + "AAAA", id="longer"),
        pytest.param("A" * len(TOKEN), id="same-length"),
        pytest.param("A", id="one-letter"),
        pytest.param("!", id="no-base64"),
        pytest.param("\N{SNOWMAN}" * 9, id="not-ascii"),
        pytest.param("\x00" * 40, id="nul"),
        pytest.param("A" * MAX_TOKEN_LENGTH, id="longest"),
    ],
)
def test_token_that_is_none_of_ours_is_refused(token: str) -> None:
    assert "not one that this caller got" in refused(token)


def test_token_longer_than_any_of_ours_is_refused_unread() -> None:
    assert "longer" in refused("A" * (MAX_TOKEN_LENGTH + 1))


@given(st.integers(0, len(base64.urlsafe_b64decode(TOKEN + "==")) * 8 - 1))
def test_token_with_any_bit_turned_is_refused(bit: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4)))
    data[bit // 8] ^= 1 << bit % 8

    refused(base64.urlsafe_b64encode(data).rstrip(b"=").decode())


@given(st.text(max_size=60))
def test_any_text_is_refused_by_name(token: str) -> None:
    refused(token)
