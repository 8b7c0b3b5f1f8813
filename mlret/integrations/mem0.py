"""A memory with the interface of mem0 2.2: a program that uses mem0 runs after changing its import.

.. code-block:: python

    from mlret.integrations.mem0 import Memory  # instead of: from mem0 import Memory

Nothing is sent anywhere, and no language model is called: what is stored are the messages themselves, unless the
program gives a callable that extracts facts from them (``extract``). The page *Move from mem0* shows what differs.
"""

from __future__ import annotations

from mlret.integrations.mem0_async_memory import AsyncMemory
from mlret.integrations.mem0_memory import Memory
from mlret.integrations.mem0_requests import RequestError

__all__ = ["AsyncMemory", "Memory", "RequestError"]
