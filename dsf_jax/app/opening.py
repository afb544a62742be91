"""A checkpoint and a gallery that belong together -> a searcher."""

import pathlib

from dsf_jax.app.searcher import Searcher
from dsf_jax.data import quickstart
from dsf_jax.data.records import open_records
from dsf_jax.gallery.embedder import network_embedder
from dsf_jax.gallery.from_records import write_pictures
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.gallery.store import open_store
from dsf_jax.images.views import QueryViews
from dsf_jax.models.model import Model
from dsf_jax.models.words import Words
from dsf_jax.retrieval.near_duplicates import Duplicates
from dsf_jax.training.model_sources import has_words, open_model, open_words


def open_searcher(
    checkpoint: str,
    gallery: str | None,
    query_views: QueryViews = "one",
    *,
    duplicates: Duplicates = "grouped",
    warns_far: bool = True,
) -> Searcher:
    """Opens a checkpoint and a gallery that was made with it.

    Args:
      checkpoint: run or checkpoint folder, or a folder of SigLIP, CLIP or DINOv2; words are understood
        where it has a text tower, its tokenizer is there, and the gallery's features are of its space.
      gallery: URI of the gallery; None for one of the quickstart's pictures, made when absent. The
        checkpoint is then the quickstart's run folder, and the better of its networks is taken.
      query_views: views of a query that it is searched by, see `Searcher`.
      duplicates: whether near-duplicates are one result or several.
      warns_far: whether answers warn that nothing is near.

    Raises:
      OSError: when one of them is not there.
      ValueError: when they do not belong together.
    """
    if gallery is None:
        model, words = _better_network(pathlib.Path(checkpoint)), None
        opened = quickstart_gallery(pathlib.Path(checkpoint), model)
    else:
        model = open_model(checkpoint)
        opened, words = _open_gallery(checkpoint, gallery, model)
    return Searcher(model, opened, query_views, words, duplicates=duplicates, warns_far=warns_far)


def _open_gallery(checkpoint: str, gallery: str, model: Model) -> tuple[Gallery, Words | None]:
    """Opens a gallery, and what embeds words in its space, where the checkpoint has that."""
    layer = open_store(gallery).config.layer
    embedder = network_embedder(model, layer=layer, name=checkpoint)
    words = open_words(checkpoint, model, layer) if has_words(checkpoint, model, layer) else None
    return Gallery.open(gallery, embedder), words


def _better_network(run: pathlib.Path) -> Model:
    """Opens the network of the quickstart that finds unseen pictures best; one that was stopped before
    it was measured comes last.
    """
    models = [open_model(folder) for folder in quickstart.networks(run)]
    return max(
        models,
        key=lambda model: max(
            (score.best.mean_average_precision for score in model.card.retrieval), default=0.0
        ),
    )


def quickstart_gallery(run: pathlib.Path, model: Model) -> Gallery:
    """Opens the gallery of the quickstart's pictures; what is missing of it is made.

    Args:
      run: folder of the quickstart's results.
      model: the quickstart's network.

    Raises:
      FileNotFoundError: when the quickstart has not been run.
    """
    pictures, data_dir = quickstart.pictures(run), quickstart.data_dir(run)
    if not pictures.exists():
        if not data_dir.is_dir():
            raise FileNotFoundError(
                f"{data_dir} is not there; run `make quickstart` first, or name a --gallery of your own "
                "pictures (launch.index makes one) with its --checkpoint"
            )
        parts = [open_records(data_dir, quickstart.PHOTOS, split) for split in quickstart.SPLITS]
        write_pictures(parts, pictures)
    made = quickstart.galleries(run)
    own = [uri for digest, uri in made.items() if model.digest_matches(digest)]
    uri = own[0] if own else quickstart.gallery(run, model.digest())
    try:  # one that was made before features were compared keeps its own
        layer = open_store(str(uri)).config.layer
    except FileNotFoundError:
        layer = None
    gallery = Gallery.open_or_create(uri, network_embedder(model, layer=layer))
    gallery.sync(pictures)  # it was stopped, perhaps, while it was made
    return gallery
