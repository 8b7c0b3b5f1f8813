"""What the server can do, as functions: HTTP and MCP call the same ones, so that they cannot differ."""
