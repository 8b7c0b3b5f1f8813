"""What a request may cost: size, time and number of requests, and what is written down about each."""
