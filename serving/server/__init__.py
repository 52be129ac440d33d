"""The embedded model server. The only part of `serving` that imports TensorFlow."""
