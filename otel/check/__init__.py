"""What otel/verify is made of: the servers, the requests it sends, and what it holds against each other."""
