"""One file a process. Only here are implementations chosen; nothing is built at import time."""
