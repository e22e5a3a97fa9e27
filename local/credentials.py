"""The credentials of one world: random, made once, and kept in a file that only its owner can read."""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

USERNAME = "admin"
"""The username for people: in Airflow, MLflow and the stand-ins' pages."""

CREDENTIALS_FILE = "credentials.json"
"""The file's name in the folder of a world, or of a stand-in that runs by itself."""


class CredentialsError(ValueError):
    """The file does not contain credentials."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """What clients of the stand-ins must present."""

    access_key_id: str
    secret_access_key: str
    x_bearer_token: str
    databricks_token: str
    trino_key: str
    """The key that signs Trino's tokens, in base64."""
    control_token: str
    """The bearer token of the stand-ins' own interface, ``/_local/``: faults, journals, limits."""
    password: str
    """The password of `USERNAME`."""

    @classmethod
    def generate(cls) -> Credentials:
        """New ones."""
        return cls(
            # As AWS forms them: AKIA and 16 characters of base32; 40 of base64.
            access_key_id="AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
            secret_access_key=base64.b64encode(secrets.token_bytes(30)).decode(),
            x_bearer_token=secrets.token_urlsafe(32),
            databricks_token=f"dapi{secrets.token_hex(16)}",
            trino_key=base64.b64encode(secrets.token_bytes(32)).decode(),
            control_token=secrets.token_urlsafe(32),
            password=secrets.token_urlsafe(12),
        )

    @classmethod
    def of(cls, path: Path) -> Credentials:
        """Those in the file; one that does not exist is made. Raises `CredentialsError`."""
        if not path.exists():
            cls.generate().write(path)
        try:
            content = json.loads(path.read_text())
            return cls(**{field.name: content[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise CredentialsError(
                f"{path} has no credentials of the stand-ins ({error!r}); delete it to create new ones"
            ) from error

    @classmethod
    def in_folder(cls, folder: Path) -> Credentials:
        """The credentials of the world, or of the single stand-in, with its state in ``folder``."""
        return cls.of(folder / CREDENTIALS_FILE)

    def of_user(self, name: str) -> Credentials:
        """The same with the access key of an IAM user, which is derived from the account's own."""

        def derived(part: str, size: int) -> bytes:
            return hmac.digest(self.secret_access_key.encode(), f"{name} {part}".encode(), "sha256")[:size]

        return replace(
            self,
            access_key_id="AKIA" + base64.b32encode(derived("id", 10)).decode(),
            secret_access_key=base64.b64encode(derived("secret", 30)).decode(),
        )

    def write(self, path: Path) -> None:
        """Writes the file, unless another process has written it first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        write_private(unfinished, json.dumps(asdict(self), indent=2) + "\n")
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return
        finally:
            unfinished.unlink()


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file that others cannot read at any time, whether or not it existed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.truncate()
        file.write(text)
