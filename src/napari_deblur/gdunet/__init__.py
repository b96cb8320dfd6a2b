"""GDUNet: a network that unfolds blind deconvolution, its training data and its training."""
