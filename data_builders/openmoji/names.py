"""Readable class names of emoji: their Unicode names in lower case."""

import unicodedata

# Python 3.11 knows Unicode 14. With the later names here, a class is called the same on every
# version of Python.
_LATER_NAMES = {
    "1F6D8": "landslide",
    "1F6DC": "wireless",
    "1FA75": "light blue heart",
    "1FA76": "grey heart",
    "1FA77": "pink heart",
    "1FA87": "maracas",
    "1FA88": "flute",
    "1FA89": "harp",
    "1FA8A": "trombone",
    "1FA8E": "treasure chest",
    "1FA8F": "shovel",
    "1FAAD": "folding hand fan",
    "1FAAE": "hair pick",
    "1FAAF": "khanda",
    "1FABB": "hyacinth",
    "1FABC": "jellyfish",
    "1FABD": "wing",
    "1FABE": "leafless tree",
    "1FABF": "goose",
    "1FAC6": "fingerprint",
    "1FAC8": "hairy creature",
    "1FACD": "orca",
    "1FACE": "moose",
    "1FACF": "donkey",
    "1FADA": "ginger root",
    "1FADB": "pea pod",
    "1FADC": "root vegetable",
    "1FADF": "splatter",
    "1FAE8": "shaking face",
    "1FAE9": "face with bags under eyes",
    "1FAEA": "distorted face",
    "1FAEF": "fight cloud",
    "1FAF7": "leftwards pushing hand",
    "1FAF8": "rightwards pushing hand",
}


def class_name(hexcode: str) -> str:
    """Returns the name of a hexadecimal code point, or itself where Unicode gave it none."""
    if hexcode in _LATER_NAMES:
        return _LATER_NAMES[hexcode]
    return unicodedata.name(chr(int(hexcode, 16)), hexcode).lower()
