"""One restoring or estimating method per file; the file's name is the method's public name."""
