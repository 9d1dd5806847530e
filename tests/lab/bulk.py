"""Large transfers from the client host, checked byte for byte."""

from __future__ import annotations

import hashlib

import httpx

from bascule.lab.network import namespace
from bascule.lab.state import Lab
from bascule.lab.traffic import Target
from bascule.system.namespaces import call_in

_PATTERN = bytes(range(256))
_TIMEOUT = 30


def download(lab: Lab, target: Target, size: int) -> bool:
    """Whether `size` bytes came down, all of them right."""
    url = f"http://{target.host}:{target.port}/bytes/{size}"
    answer = call_in(namespace(lab.name, "client"), lambda: httpx.get(url, timeout=_TIMEOUT, trust_env=False))
    return answer.content == _content(size)


def upload(lab: Lab, target: Target, size: int) -> bool:
    """Whether the instance received `size` bytes, all of them right."""
    url, content = f"http://{target.host}:{target.port}/bytes", _content(size)
    answer = call_in(
        namespace(lab.name, "client"), lambda: httpx.put(url, content=content, timeout=_TIMEOUT, trust_env=False)
    )
    return bool(answer.json() == {"bytes": size, "sha256": hashlib.sha256(content).hexdigest()})


def _content(size: int) -> bytes:
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]
