"""The plugin of napari: denoise the layer that is selected.

`layers` computes, without Qt or napari; `widget` is what napari shows; `napari.yaml` tells napari.
"""
