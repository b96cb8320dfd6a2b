"""``python -m napari_deblur``."""

from napari_deblur.cli import main

if __name__ == "__main__":
    main()
