"""The hypervisor's side: decapsulate, translate to the instance, translate its replies back.

The interface, a fake that ships, and one folder per real driver.
"""
