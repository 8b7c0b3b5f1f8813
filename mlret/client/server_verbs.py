"""The verbs of the server itself."""

from __future__ import annotations

from mlret.client import results
from mlret.client.calls import Call, Steps
from mlret.index.hits import IndexInfo


class ServerVerbs:
    """The requests that concern no index alone.

    Parameters
    ----------
    server
        The address of the server.
    """

    def __init__(self, server: str) -> None:
        self._server = server

    def indexes(self) -> Steps[dict[str, IndexInfo]]:
        """Return the indexes that the token may read: name -> what it holds and how it was built."""
        answer = yield Call("GET", "/v1/indexes")
        return {
            one["name"]: results.info_of(one, f"{self._server}/v1/indexes/{one['name']}")
            for one in answer.json()["indexes"]
        }
