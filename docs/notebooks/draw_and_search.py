# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a drawing to pictures
#
# A drawing goes through the whole method: points, views, a name by vote, features, and the nearest pictures of a
# folder. It needs a trained network in `runs/quickstart` (`make quickstart`), a drawing and a folder of pictures;
# any other checkpoint will do.

# %%
import numpy as np

from dsf_jax.data.picture_folders import list_pictures
from dsf_jax.images.points import pad_points
from dsf_jax.images.views import sketch_views
from dsf_jax.recognition.voting import single_angle, vote
from dsf_jax.retrieval.picture_search import read_sketch, search_pictures, sketch_features
from dsf_jax.training.checkpoints import load_model

model = load_model("runs/quickstart")
print(model.config.backbone, model.size, len(model.class_names))

# %% [markdown]
# ## Points
#
# The drawing's strokes become points on a lattice: x, y and how dark the pen was there. Nothing else of the
# drawing travels to the device.

# %%
sketch = read_sketch("drawing.png").query
assert sketch.points is not None, "drawing.png is a photo"
points = pad_points([sketch.points])
print(sketch.points.shape, sketch.points[:3].tolist())

# %% [markdown]
# ## Views
#
# There the pen draws them at nine angles, each plain and flipped.

# %%
views = sketch_views(points[0], size=model.size, pen=model.config.pen)
print(views.shape, views.dtype, f"{np.mean(views < 128):.3f} of the pixels are ink")

# %% [markdown]
# ## A name
#
# By the upright view alone, and by the vote of all.

# %%
for name, classify in (("one angle", single_angle), ("vote of 18", vote)):
    probabilities = np.asarray(classify(model, {"points": points}))[0]
    best = np.argsort(-probabilities)[:3]
    print(name, [(model.class_names[k], round(float(probabilities[k]), 3)) for k in best])

# %% [markdown]
# ## Pictures
#
# The feature of the drawing, and the pictures whose features are nearest. `launch.index` keeps the pictures'
# features in a gallery; here all of them are computed.

# %%
layer = model.default_feature
feature = sketch_features(model, sketch, layer=layer)
ranking = search_pictures(model, feature, list_pictures("my_photos")[0], 3, layer=layer)
for found in ranking.found:
    print(f"{found.distance:.4f}  {found.path}")
