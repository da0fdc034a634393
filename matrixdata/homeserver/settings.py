"""The configuration of the embedded homeserver, as plain values. Pure: writes nothing, asks nothing.

Private by construction: one listener on 127.0.0.1, no federation, no statistics, no previews, no push,
and every address on every network refused for outgoing requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matrixdata.homeserver.identity import Identity
    from matrixdata.model.json import JSON, JSONObject

Limits: TypeAlias = Literal["wide", "stock"]

NONCE_KEY = "io.matrixdata.start"
"""Where `/.well-known/matrix/client` shows the random value of this start."""

LOG = "homeserver.log"
LOG_CONFIG = "log.yaml"

# Far above what one machine can do, small enough to stay exact in the limiter's floating-point counters.
_NO_LIMIT: JSONObject = {"per_second": 1_000_000, "burst_count": 1_000_000}

_BUCKETS = (
    "rc_message", "rc_registration", "rc_registration_token_validity", "rc_admin_redaction",
    "rc_joins_per_room", "rc_key_requests", "rc_3pid_validation", "rc_third_party_invite", "rc_media_create",
    "rc_delayed_event_mgmt", "rc_room_creation", "rc_reports", "rc_user_directory", "rc_profile",
)  # fmt: skip
_NESTED_BUCKETS = {
    "rc_login": ("address", "account", "failed_attempts"),
    "rc_joins": ("local", "remote"),
    "rc_invites": ("per_room", "per_user", "per_issuer"),
    "rc_presence": ("per_user",),
}


def homeserver_config(
    identity: Identity,
    directory: Path,
    *,
    port: int,
    nonce: str,
    limits: Limits,
    extra: Mapping[str, JSON],
) -> JSONObject:
    """Synapse's configuration (its "Configuration Manual").

    Args:
        identity: name and secrets.
        directory: where database, media and log live; absolute.
        port: TCP port on 127.0.0.1.
        nonce: a random value of this start, published under `NONCE_KEY`, by which we know it is ours.
        limits: "wide" lifts every rate limit; "stock" leaves Synapse's defaults.
        extra: top-level keys that replace ours; `listeners` are added to ours instead.
    """
    url = f"http://127.0.0.1:{port}"
    config: JSONObject = {
        "server_name": identity.name,
        "public_baseurl": url,
        "serve_client_wellknown": True,
        "extra_well_known_client_content": {NONCE_KEY: nonce},
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "media_store_path": str(directory / "media"),
        "signing_key": identity.signing_key,
        "log_config": str(directory / LOG_CONFIG),
        "registration_shared_secret": identity.registration_secret,
        "macaroon_secret_key": identity.macaroon_secret,
        "form_secret": identity.form_secret,
        # Passwords are 256 random bits here, so a slow hash would add nothing but 0.25 s a login.
        "bcrypt_rounds": 4,
        **_no_contact(),
        **(_wide() if limits == "wide" else {}),
    }
    ours: JSON = {
        "type": "http",
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "tls": False,
        "resources": [{"names": ["client"], "compress": False}],
    }
    more = extra.get("listeners")
    config.update(extra)
    config["listeners"] = [ours, *(more if isinstance(more, list) else [])]
    return config


def log_config(directory: Path) -> JSONObject:
    """Python logging for Synapse: warnings and errors to one file of 5 MB, and two older ones."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "formatter": "line",
                "filename": str(directory / LOG),
                "maxBytes": 5_000_000,
                "backupCount": 2,
                "encoding": "utf-8",
            }
        },
        "root": {"level": "WARNING", "handlers": ["file"]},
    }


def _no_contact() -> JSONObject:
    return {
        "report_stats": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "federation_domain_whitelist": [],
        "allow_public_rooms_over_federation": False,
        "ip_range_blacklist": ["0.0.0.0/0", "::/0"],
        "url_preview_enabled": False,
        "push": {"enabled": False},
        "presence": {"enabled": False},
        "enable_registration": False,
        "enable_metrics": False,
    }


def _wide() -> JSONObject:
    limits: JSONObject = {name: dict(_NO_LIMIT) for name in _BUCKETS}
    for name, parts in _NESTED_BUCKETS.items():
        limits[name] = {part: dict(_NO_LIMIT) for part in parts}
    return {**limits, "max_upload_size": "1G"}
