"""The load balancer's own orchestrator: inventory, decide, plan, placement, and the steps that plans are made of.

`decide.py`, `plan.py` and `placement.py` are pure.
"""
