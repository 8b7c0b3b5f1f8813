"""The shapes of requests and answers, from which the description of the interface is made."""
