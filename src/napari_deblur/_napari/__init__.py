"""The only folder that knows napari, magicgui and Qt."""
