"""What a job tree is made of, one file a kind of step. Each step is idempotent."""
