"""From files to arrays: formats, volumes, checks, cache, phantoms, patches, augmentation."""
