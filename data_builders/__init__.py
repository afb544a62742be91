"""Builders of prepared data sets: one TFDS builder per folder, and what they share.

Imports point only up this list: a module may import those above it, and of dsf_jax only
images, data.files, data.downloads, data.picture_folders, data.picture_formats, data.pictures,
data.records and models.edge_detector
(tests/import_order_test.py reads the list). The folders of the builders import nothing of each
other.

faults               what happens when a file of a source is broken: stop, or skip and count it
records_format       the fields of a record, per domain
splits               cutting a data set from a seed: the same on every machine
archives             zips and tars -> what lies in them, and where
sources              a folder, zip or tar -> its files, listed in order and read one by one
built_from           digests of what a data set was built from
ordered_map          a function over many items, on all cores, in order
pipeline             the same as an Apache Beam pipeline
record_images        picture files of any kind -> the encoded images that records hold
pen                  pen strokes -> the fields of a sketch record
svg                  an SVG drawing -> pen strokes
builder              what all builders of files share: source, options, faults
folders              folders of class folders -> examples
registry             the builders by name
prepare              runs a builder: a data set is built completely or not at all
public_sets          public data sets: addresses and licences, downloaded and built
caltech101           Caltech-101: photos of 101 classes
domainnet            DomainNet: pictures of 345 classes in six domains
edge_maps            edges of the photos of another prepared data set
eitz_sbir            the sketch-based retrieval benchmark of Eitz et al.
flickr15k            Flickr15K: photos of 33 classes, and sketches of them
hust_si              HUST-SI: photos of the classes of TU-Berlin
openmoji             OpenMoji's emoji as sketches, photos and edge maps
pascal_voc_sbir      Pascal VOC 2007 photos for retrieval by sketch
quickdraw            Quick, Draw!: sketches with their strokes
sketch_photo_folders  folders of one's own sketches and photos
sketchy              the Sketchy database: photos, and sketches drawn from them
tu_berlin            the TU-Berlin sketches, in three folds
"""
