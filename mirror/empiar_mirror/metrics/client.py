"""What the service beside tells of itself at its address for metrics."""

from __future__ import annotations

import http.client
from typing import Final

from empiar_mirror.metrics.instruments import PREFIX

_TIMEOUT_S: Final = 1.0
#: Far more than our metrics have; whoever else listens there may send anything.
_LONGEST: Final = 4 * 2**20
#: Addresses of a server that listens everywhere, and how it is reached from here.
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def channel_bytes(address: tuple[str, int] | None) -> dict[int | str, int] | None:
    """Bytes that came since the service began, by channel; None where nobody answers, or somebody else."""
    from prometheus_client.parser import text_string_to_metric_families

    if address is None:
        return None
    host, port = address
    connection = http.client.HTTPConnection(_HERE.get(host, host), port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read(_LONGEST).decode("utf-8", "replace") if answer.status == 200 else ""
        found: dict[int | str, int] = {}
        for family in text_string_to_metric_families(text):
            if family.name == f"{PREFIX}bytes":
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        found[sample.labels["channel"]] = int(sample.value)
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()
    return found or None
