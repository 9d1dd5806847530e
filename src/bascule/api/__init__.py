"""The HTTP API, one file a noun: `/v2` for customers, `/admin/v1` for the owner of the machines."""
