"""bascule: a load balancer as a service for people who own their machines.

Start with ARCHITECTURE.md, which follows one change and one packet by file name. Packages depend on each other in one
direction only; `pyproject.toml` lists the layers and `make check` holds them.
"""

__version__ = "0.1.0"
