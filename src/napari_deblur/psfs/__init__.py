"""One model of a point spread function per file; the file's name is the model's public name."""
