"""What a login sends, by the settings that there are."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.mesh.config import BadSettings, Secret, load
from services.snowflake.login import ACCESS_TOKEN, KEYPAIR, OAUTH, Login
from services.snowflake.settings import SnowflakeSettings


def login(tmp_path: Path, **environ: str) -> Login:
    given = {"SNOWFLAKE_ACCOUNT": "acct", "SNOWFLAKE_TOKEN_FILE_PATH": str(tmp_path / "token"), **environ}
    return Login(load(SnowflakeSettings, given))


def test_inside_a_container_the_token_is_read_at_every_login(tmp_path: Path) -> None:
    within = login(tmp_path, SNOWFLAKE_HOST="internal", SNOWFLAKE_ROLE="R")
    (tmp_path / "token").write_text("first\n")
    first = within.service()
    (tmp_path / "token").write_text("second\n")

    assert first["token"] == "first"
    assert within.service()["token"] == "second"
    assert (first["authenticator"], first["host"], first["account"]) == ("oauth", "internal", "acct")


def test_a_caller_logs_in_with_both_tokens_and_no_role(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("service\n")

    options = login(tmp_path, SNOWFLAKE_ROLE="R", SNOWFLAKE_USER="U").caller(Secret("user"))

    assert options["token"] == "service.user"
    assert not {"role", "user"} & set(options)


def test_an_access_token_is_used_for_sessions_and_rest(tmp_path: Path) -> None:
    outside = login(tmp_path, SNOWFLAKE_USER="u", SNOWFLAKE_PAT="pat")

    assert outside.service()["authenticator"] == ACCESS_TOKEN
    assert outside.rest().kind == ACCESS_TOKEN
    assert "pat" not in repr(outside.rest())


def test_a_key_pair_signs_for_rest(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key))
    outside = login(tmp_path, SNOWFLAKE_USER="u", SNOWFLAKE_PRIVATE_KEY_FILE=str(file))

    credential = outside.rest()
    claims = jwt.decode(credential.token.value, key.public_key(), ["RS256"])

    assert credential.kind == KEYPAIR
    assert claims["sub"] == "ACCT.U"
    assert claims["iss"].startswith("ACCT.U.SHA256:")
    assert outside.service()["authenticator"] == "SNOWFLAKE_JWT"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))

    with pytest.raises(BadSettings, match="RSA"):
        login(tmp_path, SNOWFLAKE_USER="u", SNOWFLAKE_PRIVATE_KEY_FILE=str(file)).service()


def test_a_connection_by_name_is_left_to_the_connector(tmp_path: Path) -> None:
    assert login(tmp_path, SNOWFLAKE_DEFAULT_CONNECTION_NAME="dev").service() == {"connection_name": "dev"}


def test_no_credential_at_all_says_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="SNOWFLAKE_PRIVATE_KEY_FILE"):
        login(tmp_path).service()


def test_rest_without_a_credential_for_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")

    assert login(tmp_path).rest().kind == OAUTH


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
