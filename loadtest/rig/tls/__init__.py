"""The scenarios of loadtest/tls, and what they share."""
