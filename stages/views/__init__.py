"""Views: where a model looks at the clip from, an affine map a frame from source pixels to the model's picture."""
