"""The only folder that builds torch modules: SAM3, LoRA, V-Net, EMA."""
