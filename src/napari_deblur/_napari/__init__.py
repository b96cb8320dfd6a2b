"""All that knows napari or Qt. The layers below give values; here they become layers."""
