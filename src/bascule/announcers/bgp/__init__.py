"""BGP by BIRD 2, with BFD."""
