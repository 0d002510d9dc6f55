"""Fetches one URL into a file, going on where an earlier attempt stopped.

Called as `python3 -c THIS PART`, with {"url": ..., "bytes": ...} on standard input (an address may carry a
password, which a command line would show to everybody). Standard library only. Proxies come from
the environment, and so do certificates, under the names that pip and OpenSSL use.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

ATTEMPTS_WITHOUT_PROGRESS = 5
BLOCK_BYTES = 1 << 18
SILENCE_SECONDS_MAX = 60


def certificates():
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        path = os.environ.get(name)
        if path and os.path.exists(path):
            return ssl.create_default_context(cafile=path)
    return ssl.create_default_context()


def size(part):
    return os.path.getsize(part) if os.path.exists(part) else 0


def attempt(url, part, total):
    """Adds to the part what the server sends of the rest; returns quietly if it stops early."""
    have = size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "fulcrum-xtask", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=SILENCE_SECONDS_MAX, context=certificates()) as response:
        goes_on = (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        with open(part, "ab" if have and goes_on else "wb") as file:
            while file.tell() <= total and (block := response.read(BLOCK_BYTES)):
                file.write(block)


def fetch(url, part, total):
    failures = 0
    while (have := size(part)) < total:
        trouble = "the connection was closed"
        try:
            attempt(url, part, total)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403, 404, 410):
                raise
            trouble = error
        except OSError as error:
            trouble = error
        failures = 0 if size(part) > have else failures + 1
        if failures == ATTEMPTS_WITHOUT_PROGRESS:
            raise OSError(f"gave up at {have} of {total} bytes: {trouble}")
        if failures:
            time.sleep(2 ** (failures - 1))


order = json.load(sys.stdin)
try:
    fetch(order["url"], sys.argv[1], order["bytes"])
except (OSError, ValueError) as error:
    sys.exit(f"{error}")
