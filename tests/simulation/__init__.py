"""The whole control plane on a virtual clock and a seed: real code, simulated machines, messages and faults."""
