"""A typed HTTP client of our own public and admin API."""
