"""What the load tests share: processes, the servers that they start, and their measurements."""
