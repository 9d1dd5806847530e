"""What survives a fault, measured: flows through a VIP that never pause, one fault, a verdict against a budget."""
