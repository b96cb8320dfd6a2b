"""One file for each format; the name of the file is the name of the reader."""
