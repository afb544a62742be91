"""Folders of one's own sketches and photos: see README.md beside this file."""
