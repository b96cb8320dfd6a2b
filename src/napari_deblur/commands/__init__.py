"""What ``napari-deblur`` can do: a command, or two of a kind, in each file."""
