"""Running a builder so that it ends whole, or not at all with one clear line."""

import errno

import tensorflow_datasets as tfds


def prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Builds a data set, unless it is there already.

    TFDS writes into a folder `incomplete.*` beside the final one, renames it at the very end, and
    removes it on any exception: what lies in the final place is whole.

    Args:
      builder: any builder of data_builders.

    Raises:
      OSError: when the disk is full; whatever else goes wrong, the builder's own error.
    """
    try:
        builder.download_and_prepare()
    except (OSError, RuntimeError) as error:  # array_record reports a full disk as RuntimeError
        if "No space left on device" not in str(error):
            raise
        raise OSError(
            errno.ENOSPC, "no space left; free some or choose another data_dir", builder.data_dir
        ) from error
