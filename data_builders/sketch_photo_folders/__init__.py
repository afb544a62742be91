"""Folders of one's own sketches and photos: see README.md next to this file."""
