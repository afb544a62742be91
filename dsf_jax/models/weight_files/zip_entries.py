"""Entries of a zip, read without trust in the sizes that it says they have."""

import copy
import zipfile

# zipfile bounds what these unpack to; bzip2 and LZMA unpack all that follows at once.
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Reads an entry; of one that holds more than the zip's directory says, hardly more is unpacked.

    Args:
        archive: the zip, opened.
        entry: one of its entries.

    Raises:
        ValueError: it is packed by another method than deflate, or has another size than is said.
        zipfile.BadZipFile: it is damaged.
    """
    if entry.compress_type not in _BOUNDED:
        raise ValueError(
            f"entry {entry.filename} is packed by method {entry.compress_type}; expected stored or deflated"
        )
    longer = copy.copy(entry)
    longer.file_size += 1  # zipfile cuts off what is beyond it, and one byte more is to be seen
    with archive.open(longer) as stream:
        data = stream.read(longer.file_size)
    if len(data) != entry.file_size:
        raise ValueError(
            f"entry {entry.filename} does not have the {entry.file_size} bytes that the zip says"
        )
    return data
