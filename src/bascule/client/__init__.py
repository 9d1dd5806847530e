"""A typed client of our own API: `ApiClient` for users, `AdminClient` for operators, one file a noun."""
