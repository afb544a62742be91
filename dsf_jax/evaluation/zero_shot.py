"""Zero-shot retrieval: sketches of classes that a network was not trained on, as queries."""

from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.mixtures import Mixture
from dsf_jax.data.unseen import UnseenClasses
from dsf_jax.models.model import Model


class ZeroShot(NamedTuple):
    """Which classes are asked for, and among what.

    Attributes:
      unseen: classes of the queries.
      generalised: whether the gallery holds all classes, those that networks are trained on too.
    """

    unseen: UnseenClasses
    generalised: bool = False

    def configuration(self) -> dict[str, Any]:
        """Describes it for a result's configuration."""
        classes = {"list": self.unseen.name, "classes": list(self.unseen.classes)}
        among = "all classes" if self.generalised else "these classes"
        asked = f"sketches of the unseen classes {self.unseen.name}, among photos of {among}"
        return {"zero_shot": classes | {"generalised": self.generalised, "asked": asked}}

    def of(self, mixture: Mixture, class_map: ClassMap | None) -> Mixture:
        """Omits the sketches of other classes and, unless generalised, their photos.

        Raises:
          ValueError: when an unseen class is unknown, or no sketch or no photo is left.
        """
        names = mixture.class_names
        hidden = self.unseen.known(names, class_map)
        labels = [label for label, name in enumerate(names) if name in hidden]
        drawings = mixture.drawings.where(np.isin(mixture.drawings.labels, labels))
        photos = mixture.photos
        if not self.generalised:
            photos = photos.where(np.isin(photos.labels, labels))
        if not (len(drawings) and len(photos)):
            raise ValueError(
                f"{len(drawings)} sketches and {len(photos)} photos are of the unseen classes of "
                f"{self.unseen.name}, expected at least one each; choose another list or data"
            )
        return mixture._replace(drawings=drawings, photos=photos)

    def check_untrained(self, model: Model, class_map: ClassMap | None) -> None:
        """Raises ValueError for a network that was trained on unseen classes, as far as its classes show."""
        fresh = model.backbone.classifier in model.config.fresh_layers
        if fresh and not model.card.training_sets:  # a loss may train all but the classifier
            return  # nothing was learned of the classes that it names
        if trained := sorted(self.unseen.among(model.class_names, class_map)):
            raise ValueError(
                f"the network was trained on {len(trained)} of the unseen classes of {self.unseen.name}, "
                f"{trained[0]!r} for one; train it with --unseen={self.unseen.name}"
            )
