"""Parts of fine-tuning SAM3: windows of data, loss, mining."""
