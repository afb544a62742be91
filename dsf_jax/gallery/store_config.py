"""What the vectors of a gallery are, as the store keeps it: one JSON object in the table's schema."""

import json
from typing import Any, NamedTuple

FORMAT = 2
# The first format had other names and an option that is gone: `whitened`.
FIRST_FORMAT_NAMES = {"fingerprint": "digest", "variant": "backbone"}


class StoreConfig(NamedTuple):
    """What a gallery's vectors are.

    Attributes:
      digest: digest of the network's parameters.
      layer: feature of the network that is stored.
      backbone: name of the network's architecture.
      features: d, dimensions of the network's features.
      dimensions: dimensions of the stored vectors; `features` where they are not reduced.
      dtype: type of the stored numbers, "float32" or "float16".
      network: run that the network was read from; for people to read, empty where it is not known.
    """

    digest: str
    layer: str
    backbone: str
    features: int
    dimensions: int
    dtype: str
    network: str = ""

    @property
    def is_reduced(self) -> bool:
        """Returns whether the stored vectors are principal components."""
        return self.dimensions < self.features

    def holds_the_same(self, other: "StoreConfig") -> bool:
        """Returns whether vectors of the two may lie in one gallery, whatever their networks are called."""
        return self._replace(network="") == other._replace(network="")

    def to_json(self) -> str:
        """Serialises it with the number of the format."""
        return json.dumps({"format": FORMAT} | self._asdict())

    @classmethod
    def from_json(cls, text: bytes, uri: str) -> "StoreConfig":
        """Reads what `to_json` wrote, today or in the first format.

        Args:
          text: the JSON object.
          uri: gallery that it is from, for messages.

        Raises:
          ValueError: when it is of no known format, or of a gallery with whitened vectors.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            version = found.pop("format")
            if version == 1:
                whitened = found.pop("whitened")
                found = {FIRST_FORMAT_NAMES.get(name, name): x for name, x in found.items()}
            elif version == FORMAT:
                whitened = False
            else:
                raise KeyError(version)
            config = cls(**found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unknown_format(uri) from error
        if whitened:
            raise ValueError(
                f"{uri} holds whitened vectors, which are no longer supported; make the gallery again "
                "under another name with python -m launch.index"
            )
        return config


def made_again(uri: str, now: StoreConfig) -> ValueError:
    """Returns the error for a gallery that has become another one since it was opened."""
    return ValueError(
        f"{uri} has been made again since it was opened, of {now.layer} features of the network "
        f"{now.digest}; open it again with that network"
    )


def unknown_format(uri: str) -> ValueError:
    """Returns the error for what is no gallery, or one of an unknown format."""
    return ValueError(
        f"{uri} holds no gallery of this program or format; choose another, or make it again with "
        "python -m launch.index"
    )
