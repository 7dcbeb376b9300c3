"""Acts on many certificates at once: previewed line by line, then done line by line."""
