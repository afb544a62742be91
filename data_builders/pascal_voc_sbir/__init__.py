"""PASCAL VOC2007 for sketch-based retrieval: see README.md next to this file."""
