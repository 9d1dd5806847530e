"""The console: pages for operators, rendered here, that reach the system through the API only. One file a noun."""
