"""What forwards packets on an LB node: the interface, a fake that ships, and one folder per real data plane.

`interface.py` is the contract; `tests/contract/test_dataplanes.py` runs it over the fake and every driver.
Health checks are not in here: a data plane is only told of healthy backends.
"""
