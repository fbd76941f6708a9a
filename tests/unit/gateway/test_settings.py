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
    assert settings.default_timeout_s == 30


@pytest.mark.parametrize("origins", ["*", "app.test", "https://app.test/", "https://a.test,,https://b.test", "null"])
def test_origins_must_be_exact(origins: str) -> None:
    with pytest.raises(BadSettings, match="MEMORYBOX_GATEWAY_CORS_ORIGINS"):
        load(GatewaySettings, {"MEMORYBOX_GATEWAY_CORS_ORIGINS": origins})


def test_origins_are_listed_with_commas() -> None:
    settings = load(GatewaySettings, {"MEMORYBOX_GATEWAY_CORS_ORIGINS": "https://A.test, http://b.test:1"})

    assert settings.cors_origins == ("https://a.test", "http://b.test:1")
