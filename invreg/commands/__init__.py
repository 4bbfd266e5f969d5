"""The commands of the command line, each a function whose signature is its options."""
