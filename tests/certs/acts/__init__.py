"""Acts on many certificates."""
