"""Run by the validators' own Python: their cache holds what they would fetch, so that they work without a network.

``rocrate-validator --offline --cache-path PATH`` resolves the JSON-LD context of a crate from its cache alone. Its package
ships the profiles but not the context. ``rocrate``, the reference library, ships that of RO-Crate 1.3, which
has every term of 1.2; of the four that it maps elsewhere (ComputationalWorkflow, FormalParameter, input, output) we use none.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from io import BytesIO

# This file runs where these are installed, and is type-checked where some are not.
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession  # type: ignore[import-not-found,unused-ignore]
from urllib3 import HTTPResponse  # type: ignore[import-not-found,unused-ignore]

CONTEXT = "https://w3id.org/ro/crate/1.2/context"


class Shipped(HTTPAdapter):
    """Answers with the context that stands in the package ``rocrate``."""

    def send(self, request: PreparedRequest, *_: object, **options: object) -> Response:
        raw = HTTPResponse(
            body=BytesIO(files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, raw)


def main(cache: str) -> None:
    with CachedSession(cache, backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Shipped())
        assert session.get(CONTEXT).json()["@context"]["CreateAction"] == "http://schema.org/CreateAction"


if __name__ == "__main__":
    main(sys.argv[1])
