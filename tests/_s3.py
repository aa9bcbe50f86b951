"""A real S3 server in a process of its own (moto's), one that ignores If-None-Match, and what runs need to use them."""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path

BUCKET = "skate-test"
SECRET = "secret-that-nobody-may-see"
KEY_ID = "AKIATHATNOBODYMAYSEE"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def shared_server() -> str:
    """Address of a server for all tests of this process, with a bucket."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(process.wait)
    atexit.register(process.kill)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/").close()
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    make_bucket(address)
    return address


def make_bucket(address: str) -> None:
    """Make the bucket at a server (moto asks nobody who they are)."""
    urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()


def environment(address: str) -> dict[str, str]:
    """What tells `skate` of the server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def use(
    variables: Mapping[str, str],
    scratch: str,
    lease: float = 0.6,
    beat: float = 0.15,
    pause: float = 0.002,
    request: float = 60,
    give_up: float = 60,
) -> None:
    """Called in a forked child, as a hook: the server, a scratch folder of its own, and times that suit a test."""
    import storage.bucket
    import storage.lease
    from storage.nearby import use_scratch

    os.environ.update(variables)
    use_scratch(Path(scratch))
    storage.lease.LEASE_SECONDS, storage.lease.BEAT_SECONDS, storage.lease.POLL_SECONDS = lease, beat, 0.02
    storage.bucket.PAUSE_SECONDS, storage.bucket.REQUEST_SECONDS = pause, request
    storage.bucket.GIVE_UP_SECONDS = give_up
