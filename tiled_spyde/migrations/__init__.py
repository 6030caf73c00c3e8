"""How the database came to its present tables, step by step; run by `tiled_spyde.database` when it is older."""
