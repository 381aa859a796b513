"""Embeddings of slices and volumes, and the FAISS index over them."""
