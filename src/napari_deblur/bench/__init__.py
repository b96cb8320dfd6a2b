"""What ``napari-deblur bench`` measures: speed, quality and memory, ours and other people's."""
