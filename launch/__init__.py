"""The commands: flags, a few calls of the library, and what they print."""

from launch import streams

streams.prepare()  # before the imports of a script, which may open files or be interrupted
