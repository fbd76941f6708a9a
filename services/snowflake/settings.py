"""Settings of every process that talks to Snowflake; the SNOWFLAKE_ names are those that Snowflake itself sets in containers."""

from dataclasses import dataclass
from pathlib import Path

from services.mesh.config import Secret, integer, one_of, path, seconds, setting

TOKEN_FILE = Path("/snowflake/session/token")  # where Snowpark Container Services keeps the service's token


@dataclass(frozen=True, slots=True)
class SnowflakeSettings:
    """Where Snowflake is, and who logs in there."""

    account: str = setting("SNOWFLAKE_ACCOUNT", default="", doc="Account; set by Snowflake inside a container.")
    host: str = setting(
        "SNOWFLAKE_HOST", default="", doc="Host of the account's API; set by Snowflake inside a container."
    )
    port: int = setting("SNOWFLAKE_PORT", default=443, parse=integer(1, 65535), doc="Port of the account's API.")
    protocol: str = setting(
        "SNOWFLAKE_PROTOCOL",
        default="https",
        parse=one_of("https", "http"),
        doc="`https`; `http` only to an emulator on this machine.",
    )
    database: str = setting("SNOWFLAKE_DATABASE", default="", doc="Database of the tables.")
    schema: str = setting("SNOWFLAKE_SCHEMA", default="", doc="Schema of the tables.")
    warehouse: str = setting("SNOWFLAKE_WAREHOUSE", default="", doc="Warehouse that statements run on.")
    role: str = setting("SNOWFLAKE_ROLE", default="", doc="Role of service sessions outside a container.")
    token_file: Path = setting(
        "SNOWFLAKE_TOKEN_FILE_PATH",
        default=TOKEN_FILE,
        parse=path,
        doc="File of the service's OAuth token, read anew at every login.",
    )
    user: str = setting("SNOWFLAKE_USER", default="", doc="User of logins outside a container.")
    private_key_file: Path | None = setting(
        "SNOWFLAKE_PRIVATE_KEY_FILE", default=None, parse=path, doc="PEM file of the user's private key."
    )
    private_key_passphrase: Secret | None = setting(
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", default=None, parse=Secret, doc="What opens that file."
    )
    access_token: Secret | None = setting(
        "SNOWFLAKE_PAT", default=None, parse=Secret, doc="Programmatic access token of the user."
    )
    password: Secret | None = setting(
        "SNOWFLAKE_PASSWORD", default=None, parse=Secret, doc="Password of the user; for an emulator."
    )
    connection_name: str = setting(
        "SNOWFLAKE_DEFAULT_CONNECTION_NAME",
        default="",
        doc="Entry of connections.toml that says all of the above instead.",
    )
    sessions: int = setting(
        "MEMORYBOX_SNOWFLAKE_SESSIONS",
        default=16,
        parse=integer(1, 256),
        doc="Sessions, and so statements at once, of one process.",
    )
    login_timeout_s: float = setting(
        "MEMORYBOX_SNOWFLAKE_LOGIN_TIMEOUT", default=10.0, parse=seconds(1, 300), doc="Seconds that a login may take."
    )
    statement_timeout_s: float = setting(
        "MEMORYBOX_SNOWFLAKE_STATEMENT_TIMEOUT",
        default=30.0,
        parse=seconds(1, 3600),
        doc="Seconds after which Snowflake ends a statement whose caller set no earlier deadline.",
    )

    @property
    def base_url(self) -> str:
        """Root of the account's REST API."""
        host = self.host or f"{self.account.replace('_', '-')}.snowflakecomputing.com"
        return f"{self.protocol}://{host}:{self.port}"
