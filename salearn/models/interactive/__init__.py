"""SAM3 asked by boxes (its geometry encoder) and clicks (its tracker), without torchvision."""
