"""SAM3 alone as the segmenter: arms under an annotation budget, rates, an external test set."""
