"""Endpoint, region and credentials of a bucket, as the usual tools take them: AWS_* variables, else a profile's files.

obstore reads the variables itself, and asks the machine it runs on (instance, container) where there are none; profiles
it does not know.
"""

import configparser
import os
from pathlib import Path
from typing import Any

from storage.errors import EnvironmentFault

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")
_ELSEWHERE = ("sso_session", "sso_start_url", "role_arn", "credential_process")


def bucket_settings() -> dict[str, Any]:
    """What the store is made with; the values are secret: they go nowhere else.

    Raises:
        EnvironmentFault: when the profile that is asked for is not there, or gets its credentials elsewhere.
    """
    found = {_KEYS[name]: value for name, value in _profile().items() if name in _KEYS}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        found = {name: value for name, value in found.items() if name not in _CREDENTIALS}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if region:
        found["region"] = region
    if endpoint:
        found["endpoint"] = endpoint
    found.setdefault("region", "us-east-1")  # what S3-compatible servers without regions take
    return found


def _profile() -> dict[str, str]:
    wanted = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    name = wanted or "default"
    files = [
        (_file("AWS_CONFIG_FILE", "config"), name if name == "default" else f"profile {name}"),
        (_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name),
    ]
    found: dict[str, str] = {}
    known = False
    for file, section in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, configparser.Error) as error:  # what it says may quote a line with a key
            raise EnvironmentFault(f"{file} cannot be read as profiles ({type(error).__name__}): mend it") from None
        if parser.has_section(section):
            known = True
            found |= dict(parser.items(section))
    if wanted and not known:
        raise EnvironmentFault(
            f"AWS_PROFILE names '{wanted}', and neither {files[0][0]} nor {files[1][0]} has it: choose another"
        )
    elsewhere = [name for name in _ELSEWHERE if name in found]
    if elsewhere and "aws_access_key_id" not in found and not os.environ.get("AWS_ACCESS_KEY_ID"):
        raise EnvironmentFault(
            f"profile '{name}' gets its credentials elsewhere ({elsewhere[0]}), which is not done here: "
            f'eval "$(aws configure export-credentials --profile {name} --format env)" first'
        )
    return found


def _file(variable: str, name: str) -> Path:
    given = os.environ.get(variable)
    return Path(given).expanduser() if given else Path.home() / ".aws" / name
