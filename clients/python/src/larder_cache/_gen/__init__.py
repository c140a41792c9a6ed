"""Code generated from the protos by generate.sh."""
