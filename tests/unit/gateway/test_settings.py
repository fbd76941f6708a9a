from dataclasses import fields

import pytest

from services.gateway.settings import GatewaySettings
from services.mesh.config import BadSettings, load


def test_every_setting_says_what_it_is() -> None:
    assert all(item.metadata["doc"].endswith((".", ").")) for item in fields(GatewaySettings))


def test_defaults_need_no_environment() -> None:
    settings = load(GatewaySettings, {})

    assert settings.auth == "dev"
    assert settings.max_body == 4 * 1024 * 1024


@pytest.mark.parametrize("origins", ["*", "app.test", "https://app.test/", "https://a.test,,https://b.test", "null"])
def test_origins_must_be_exact(origins: str) -> None:
    with pytest.raises(BadSettings, match="MEMORYBOX_GATEWAY_CORS_ORIGINS"):
        load(GatewaySettings, {"MEMORYBOX_GATEWAY_CORS_ORIGINS": origins})


def test_origins_are_listed_with_commas() -> None:
    settings = load(GatewaySettings, {"MEMORYBOX_GATEWAY_CORS_ORIGINS": "https://A.test, http://b.test:1"})

    assert settings.cors_origins == ("https://a.test", "http://b.test:1")


@pytest.mark.parametrize(("text", "size"), [("4096", 4096), ("64KiB", 65536), ("1MiB", 1048576)])
def test_sizes_take_units(text: str, size: int) -> None:
    assert load(GatewaySettings, {"MEMORYBOX_GATEWAY_MAX_BODY": text}).max_body == size


@pytest.mark.parametrize(("text", "span_s"), [("2", 2), ("1.5s", 1.5), ("250ms", 0.25), ("1m", 60)])
def test_spans_take_units(text: str, span_s: float) -> None:
    assert load(GatewaySettings, {"MEMORYBOX_GATEWAY_DEFAULT_TIMEOUT": text}).default_timeout_s == span_s


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MAX_BODY", "65MiB"),
        ("MAX_BODY", "1"),
        ("MAX_BODY", "4MB"),
        ("MAX_BODY", "-1"),
        ("DEFAULT_TIMEOUT", "0"),
        ("DEFAULT_TIMEOUT", "2h"),
        ("DEFAULT_TIMEOUT", "61m"),
    ],
)
def test_values_out_of_range_are_named(variable: str, text: str) -> None:
    with pytest.raises(BadSettings, match=f"MEMORYBOX_GATEWAY_{variable}"):
        load(GatewaySettings, {f"MEMORYBOX_GATEWAY_{variable}": text})
