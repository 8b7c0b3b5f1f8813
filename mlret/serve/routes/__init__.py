"""The routes: they read a request, call an operation and write its result."""
