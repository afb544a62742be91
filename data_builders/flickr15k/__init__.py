"""The Flickr15k benchmark: see README.md next to this file."""
