"""One module for each family of statements; ``dispatch`` finds the one that a statement begins like."""
