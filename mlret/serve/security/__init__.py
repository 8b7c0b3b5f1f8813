"""Who may do what: tokens, roles and scopes, and which hosts and web pages the server answers."""
