"""The server: indexes and a memory over HTTP and MCP (``mlret serve``)."""
