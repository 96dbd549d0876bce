"""Scripts that measure the packaged priors and write JSON, from which the docs' tables are made."""
