"""What the paper prints, each number once: Tables 1 to 3, Fig. 4, and the data sets behind them."""

FEATURES = ("L6", "L7", "L6+L7")  # columns of Table 3
METHODS = {"single_angle": "single angle", "voting": "18-angle voting"}  # columns of Table 1
RESIZED = {"S-bilinear": "bilinear", "S-cubic": "cubic"}  # runs of sketches that were interpolated

SKETCH_A_NET = "Sketch-a-Net"  # run of that backbone, from random values, on sketches

# Table 1, accuracy: single angle, 18-angle voting.
TABLE_1: dict[str, tuple[float | None, float | None]] = {
    "S-bilinear": (0.690, 0.710),
    "S-cubic": (None, None),
    "S": (0.747, 0.773),
    "S+I": (0.738, 0.767),
    "S+E": (0.743, 0.771),
    "S+I+E": (0.745, 0.768),
}
# Table 2, accuracy; the paper's own row is Table 1's.
TABLE_2 = {
    "human": 0.732,
    "SIFT + BoW + SVM": 0.56,
    "star graph + KNN": 0.615,
    "MKL": 0.658,
    "SIFT + Fisher": 0.689,
    SKETCH_A_NET: 0.749,
}
# Table 3, Kendall's rank correlation: L6, L7, L6+L7.
TABLE_3 = {
    "S": (0.2757, 0.2831, 0.2981),
    "S+I": (0.4603, 0.4403, 0.4578),
    "S+I+E": (0.4607, 0.4615, 0.4773),
}
TABLE_3_OTHERS = {
    "SHOG": 0.277,
    "words of interest": 0.313,
    "key shapes": 0.289,
    "min-hash": 0.336,
    "content-aware": 0.352,
}
# Fig. 4, bounded mAP at K = 150 with all negatives, L6+L7.
FIGURE_4 = {"car": 0.90, "bicycle": 0.76}
FIGURE_4_NUMBER = "bounded mAP@150"
FIGURE_4_SIZES = ("0", "1000", "5000", "all")

RUNS = tuple(TABLE_1)  # mixtures of sketches (S), photos (I) and edge maps (E)

# Data sets, as data_builders names them.
SKETCHES, PHOTOS, EDGES = "tu_berlin/sketch", "hust_si/photo", "edge_maps/hust_si-hed"
EITZ = ("eitz_sbir/sketch", "eitz_sbir/photo")
VOC = ("pascal_voc_sbir/sketch", "pascal_voc_sbir/photo")
