"""Classes that zero-shot retrieval keeps from training: the published lists by name, or a file.

Training omits them, retrieval asks for them. The lists are facts of the literature:

sketchy-25, tu_berlin-30: the splits of SAKE (Liu et al., ICCV 2019), which most later papers take as the
  random splits of Shen et al. (CVPR 2018), whose own lists were never published. From the files of SAKE
  (github.com/qliu24/SAKE, whose training classes have these numbers) and of ZSE-SBIR
  (github.com/buptLinfy/ZSE-SBIR, data_utils/test_class_sketchy25.txt and test_class_tuberlin30.txt).
sketchy-25-sem-pcyc, tu_berlin-30-sem-pcyc: the other random splits that go by the same name, of SEM-PCYC
  (Dutta and Akata, CVPR 2019). github.com/AnjanDutta/sem-pcyc, src/utils.py draws them with
  numpy.random.seed(0), choice(sorted classes, 0.8 or 0.88 of them); its issue 22 lists what comes out.
sketchy-21: the 21 classes that are not among ImageNet's 1000 (Yelamarthi et al., ECCV 2018), "split 2".
  ZSE-SBIR, test_class_sketchy21.txt, and github.com/aneeshan95/Sketch_LVM, src/dataset_retrieval.py.
quickdraw-30: of the 110 classes of Quick, Draw! Extended (Dey et al., CVPR 2019).
  github.com/sounakdey/doodle2search, src/data/zeroshot_classes_quickdraw.txt in its last version.
"""

import pathlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.files import read_text


class UnseenClasses(NamedTuple):
    """A list of classes that are kept from training.

    Attributes:
      name: name of a published list, or of a file.
      data_set: data set whose names the classes have, "sketchy", as class maps call it; None for names
        of a mixture.
      classes: the classes.
    """

    name: str
    data_set: str | None
    classes: tuple[str, ...]

    def among(self, names: Iterable[str], class_map: ClassMap | None = None) -> set[str]:
        """Finds the classes among a mixture's.

        Upper case, spaces, hyphens and underscores make no difference, so that teddy_bear of one data set
        is not trained on as the teddy-bear of another; other names are joined by the class map.

        Args:
          names: the mixture's names of classes.
          class_map: see `mix`.

        Returns:
          The unseen ones of the names.
        """
        plain = set().union(*self._synonyms(class_map).values())
        return {name for name in names if _plain(name) in plain}

    def known(self, names: Iterable[str], class_map: ClassMap | None = None) -> set[str]:
        """Finds the classes among all that a mixture's data sets have, as `among` does.

        Raises:
          ValueError: when none of a published list is there, or one of a file's is not.
        """
        hidden = self.among(names, class_map)
        there = {_plain(name) for name in hidden}
        synonyms = self._synonyms(class_map)
        absent = [name for name, plain in synonyms.items() if there.isdisjoint(plain)]
        if absent and (self.data_set is None or not hidden):
            raise ValueError(
                f"{len(absent)} of the {len(self.classes)} unseen classes of {self.name} are in none of the "
                f"data sets, {absent[0]!r} for one; correct the list, or name other data sets or a class map"
            )
        return hidden

    def _synonyms(self, class_map: ClassMap | None) -> dict[str, set[str]]:
        """Returns the plain names of each class in a mixture: its own, and what a class map calls it."""
        plain = {name: {_plain(name)} for name in self.classes}
        for mixed, sets in (class_map or {}).items():
            owns = {_plain(own) for own in sets.get(self.data_set or "", ())}
            for name in self.classes:
                if _plain(name) in owns:
                    plain[name].add(_plain(mixed))
        return plain


def _plain(name: str) -> str:
    """Returns a name without what data sets write differently."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).casefold().strip()


def read_unseen(name: str | None) -> UnseenClasses | None:
    """Returns a published list, or reads a file of one name per line; None for none.

    Raises:
      ValueError: when it is neither, or the file lists nothing or a class twice.
    """
    if name is None or name in UNSEEN:
        return UNSEEN[name] if name else None
    if not pathlib.Path(name).is_file():
        raise ValueError(
            f"unseen={name!r} is unknown; choose one of {', '.join(UNSEEN)}, or a file of one class per line"
        )
    classes = [line.strip() for line in read_text(name).splitlines() if line.strip()]
    if not classes or len({*map(_plain, classes)}) < len(classes):
        raise ValueError(
            f"{name} lists {len(classes)} classes, expected at least one, each once; write one per line"
        )
    return UnseenClasses(name, None, tuple(classes))


def _published(name: str, data_set: str, classes: str) -> UnseenClasses:
    return UnseenClasses(name, data_set, tuple(classes.split(",")))


_LISTS = (
    _published(
        "sketchy-25",
        "sketchy",
        "airplane,bell,butterfly,camel,chicken,cup,deer,harp,horse,parrot,pineapple,ray,rifle,scissors,snail,"
        "squirrel,swan,tank,teddy_bear,tree,umbrella,volcano,wheelchair,windmill,wine_bottle",
    ),
    _published(
        "sketchy-25-sem-pcyc",
        "sketchy",
        "bear,bell,cannon,door,eyeglasses,geyser,guitar,hamburger,jack-o-lantern,lobster,motorcycle,mushroom,"
        "pear,racket,rhinoceros,saw,saxophone,spoon,squirrel,tank,teapot,tiger,trumpet,violin,wheelchair",
    ),
    _published(
        "sketchy-21",
        "sketchy",
        "bat,cabin,cow,dolphin,door,giraffe,helicopter,mouse,pear,raccoon,rhinoceros,saw,scissors,seagull,"
        "skyscraper,songbird,sword,tree,wheelchair,windmill,window",
    ),
    _published(
        "tu_berlin-30",
        "tu_berlin",
        "ant,banana,bottle opener,brain,bread,bridge,bus,canoe,fan,frying-pan,horse,hot air balloon,laptop,"
        "lighter,parachute,penguin,pizza,rollerblades,shoe,snowboard,space shuttle,streetlight,suitcase,"
        "t-shirt,table,teacup,telephone,tractor,trombone,windmill",
    ),
    _published(
        "tu_berlin-30-sem-pcyc",
        "tu_berlin",
        "backpack,bicycle,bookshelf,cabinet,calculator,castle,couch,dolphin,door handle,duck,eyeglasses,"
        "fire hydrant,flying saucer,foot,hedgehog,knife,octopus,pear,purse,rollerblades,sailboat,snail,snake,"
        "snowman,swan,tablelamp,traffic light,truck,umbrella,walkie talkie",
    ),
    _published(
        "quickdraw-30",
        "quickdraw",
        "banana,bat,beach,bread,cactus,cake,campfire,cow,dolphin,door,fan,feather,fire hydrant,frog,giraffe,"
        "hamburger,helicopter,megaphone,mouse,palm tree,raccoon,rhinoceros,saw,scissors,shark,skyscraper,"
        "tiger,tree,windmill,zebra",
    ),
)
UNSEEN = {one.name: one for one in _LISTS}
