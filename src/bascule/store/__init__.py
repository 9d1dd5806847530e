"""Expected state in SQL: the tables, the queries by noun, the migrations."""
