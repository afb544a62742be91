"""The Flickr15k benchmark: see README.md beside this file."""
