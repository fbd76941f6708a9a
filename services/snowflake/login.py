"""How a session logs in. Secrets are read at each login and kept nowhere, so that a rotated one is used at once."""

import base64
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.mesh.config import BadSettings, Secret
from services.snowflake.settings import SnowflakeSettings

OAUTH = "OAUTH"
KEYPAIR = "KEYPAIR_JWT"
ACCESS_TOKEN = "PROGRAMMATIC_ACCESS_TOKEN"  # noqa: S105 the name of a kind, not a token
JWT_LIFE_S = 600  # Snowflake takes an hour at most

Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RestCredential:
    """What goes into the Authorization header of a REST call, and of which kind it is."""

    token: Secret
    kind: str


class Login:
    """The one way in that the settings choose, in this order: connections.toml, key pair, access token, token file, password."""

    def __init__(self, settings: SnowflakeSettings) -> None:
        self._settings = settings

    def service(self) -> Options:
        """Return the connector's arguments for a session of the service's own. Raises ``BadSettings``."""
        settings = self._settings
        if settings.connection_name:
            return {"connection_name": settings.connection_name}
        if settings.private_key_file:
            return {**self._place(), "authenticator": "SNOWFLAKE_JWT", "private_key": _der(self._private_key())}
        if settings.access_token:
            return {**self._place(), "authenticator": ACCESS_TOKEN, "token": settings.access_token.value}
        if settings.password:
            return {**self._place(), "password": settings.password.value}
        return {**self._place(), "authenticator": "oauth", "token": self._file_token()}

    def caller(self, user_token: Secret) -> Options:
        """Return the arguments for a session with the rights of the caller to whom *user_token* was given.

        Such a session has the caller's default role; a role cannot be chosen.
        """
        place = {name: value for name, value in self._place().items() if name not in {"user", "role"}}
        return {**place, "authenticator": "oauth", "token": f"{self._file_token()}.{user_token.value}"}

    def rest(self) -> RestCredential:
        """Return the credential of a REST call of the service's own. Raises ``BadSettings``."""
        settings = self._settings
        if settings.private_key_file:
            return RestCredential(Secret(self._signed(self._private_key())), KEYPAIR)
        if settings.access_token:
            return RestCredential(settings.access_token, ACCESS_TOKEN)
        return RestCredential(Secret(self._file_token()), OAUTH)

    def _place(self) -> Options:
        settings = self._settings
        if not settings.account:
            raise BadSettings("SNOWFLAKE_ACCOUNT is not set: the account to log in to")
        named = {
            "user": settings.user,
            "host": settings.host,
            "database": settings.database,
            "schema": settings.schema,
            "warehouse": settings.warehouse,
            "role": settings.role,
        }
        given = {name: value for name, value in named.items() if value}
        return {"account": settings.account, "port": settings.port, "protocol": settings.protocol, **given}

    def _file_token(self) -> str:
        try:
            return self._settings.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BadSettings(
                f"SNOWFLAKE_TOKEN_FILE_PATH={self._settings.token_file}: {error.strerror}. Outside a container set "
                "SNOWFLAKE_USER with SNOWFLAKE_PRIVATE_KEY_FILE or SNOWFLAKE_PAT, or SNOWFLAKE_DEFAULT_CONNECTION_NAME"
            ) from None

    def _private_key(self) -> RSAPrivateKey:
        settings = self._settings
        file, passphrase = settings.private_key_file, settings.private_key_passphrase
        try:
            pem = file.read_bytes() if file else b""
            key = serialization.load_pem_private_key(pem, passphrase.value.encode() if passphrase else None)
        except OSError as error:
            raise BadSettings(f"SNOWFLAKE_PRIVATE_KEY_FILE={file}: {error.strerror}") from None
        except (ValueError, TypeError):  # neither says anything of the key
            raise BadSettings(
                f"SNOWFLAKE_PRIVATE_KEY_FILE={file}: not a private key in PEM form, or the passphrase is wrong"
            ) from None
        if not isinstance(key, RSAPrivateKey):
            raise BadSettings(f"SNOWFLAKE_PRIVATE_KEY_FILE={file}: Snowflake takes RSA keys only")
        return key

    def _signed(self, key: RSAPrivateKey) -> str:
        from_now = _now()
        account = self._settings.account.split(".")[0].upper()
        subject = f"{account}.{self._settings.user.upper()}"
        claims = {
            "iss": f"{subject}.{_fingerprint(key)}",
            "sub": subject,
            "iat": from_now,
            "exp": from_now + JWT_LIFE_S,
        }
        return jwt.encode(claims, key, algorithm="RS256")


def _der(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _fingerprint(key: RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    return f"SHA256:{base64.b64encode(digest.finalize()).decode()}"


def _now() -> int:
    return int(time.time())
