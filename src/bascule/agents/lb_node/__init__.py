"""The LB agent (what the first talk calls the NLB Manager)."""
