"""What happens elsewhere and concerns load balancers: messages, and the buses that carry them."""
