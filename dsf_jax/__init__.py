"""Sketch-based image retrieval: Deep sketch feature for cross-domain image retrieval, in JAX.

Data flows down this list, and imports point only up it: a module may import those above it and no
other (tests/import_order_test.py reads the list).

images.points            a drawing -> its ink -> points on the canvas lattice
images.resize            points -> a small map, and the interpolating resizes beside it
images.views             the 18 views of a sketch and of a photo, one at random, the plain one
models.alexnet           AlexNet, Caffe's and torchvision's: logits and every layer by name
models.caffe             weight files of other frameworks -> arrays by layer
models.hed               a photo -> how strong an edge is at every pixel
models.edge_detector     a photo -> its edges, by one of three detectors
models.weights_port      arrays by layer -> AlexNet's parameters, every name accounted for
data.files               text files, written whole or not at all
data.pictures            picture files of any kind -> RGB arrays
data.groups              examples -> padded arrays, the unit that travels to the device
data.records             prepared data sets on disk -> random access
data.mixtures            which domains and classes a network is trained on
data.batches             examples -> shuffled training batches, random access by step
training.parallel        one step on all devices
training.step            loss, optimiser, one step
training.checkpoints     states and models on disk
training.frozen          random views through frozen convolutions, once
training.loop            configuration and data -> trained state, resumable
recognition.voting       what a sketch shows, by one view or by the vote of 18
retrieval.features       L2-normalised features of layers 6 and 7
retrieval.euclidean      exact nearest neighbours, block by block
evaluation.ranking       average precision, precision and recall of rankings
evaluation.protocols.category_retrieval  sketches against photos of the same classes -> one result
evaluation.protocols.recognition         accuracy, single angle and voted -> one result
insight.figures          pictures of rankings, resizings and training curves

Dimension letters: b batch, h w height width, c channels, p points, v views, n gallery items,
q queries, d feature size, k classes.
"""
