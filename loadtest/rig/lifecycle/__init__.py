"""The life of workers under load: traffic that notices everything, and the scenarios that end workers."""
