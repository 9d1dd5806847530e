"""`bascule doctor`: says what this machine can run as an LB node or a hypervisor, what is in the way, and the fix.

`gather` and its helpers read the machine into `facts`; the checks beside them are pure and turn facts into `findings`.
"""
