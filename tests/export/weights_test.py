"""Weight files written for Caffe and torch: read back bit for bit, and run by torch."""

import collections
import dataclasses
import io
import pickletools
import struct
import zipfile

import jax
import numpy as np
import pytest

from dsf_jax.export.weights import caffemodel, state_dict
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import port_weights
from tests.models.weight_files.encoders import blob_bytes, chunk
from tests.models.weights_port_test import SMALL, template

VARIANTS = ("caffe", "torchvision")
SIZE = 67  # the smallest input whose pool5 is not empty


def random_params(seed=0):
    """Every kind of finite number: any bits but those of infinities and NaNs."""
    rng = np.random.default_rng(seed)

    def numbers(shape):
        bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
        bits &= np.where(bits & 0x7F800000 == 0x7F800000, 0x807FFFFF, 0xFFFFFFFF).astype(np.uint32)
        return bits.view(np.float32)

    return {
        layer: {"kernel": numbers(shape), "bias": numbers(shape[-1:])}
        for layer, shape in (SMALL | {"fc8": (9, 300)}).items()  # a length of two bytes
    }


def model_of(params, variant="caffe", classes=()):
    return Model(params, ModelConfig(variant, classes, SIZE, ()))


def he_params(config, seed=0):
    """Parameters of a real network at which no layer's values vanish, drawn faster than by jax."""
    rng = np.random.default_rng(seed)

    def draw(x):
        values = rng.standard_normal(x.shape, np.float32)
        return values * np.float32((2 / max(x.size // x.shape[-1], 2)) ** 0.5)

    return jax.tree.map(draw, jax.eval_shape(lambda: init_model(config, 0)).params)


def assert_bits_equal(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for new, old in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert new.shape == old.shape and new.dtype == old.dtype == np.float32
        assert new.tobytes() == np.ascontiguousarray(old).tobytes()


def read_back(path, variant):
    weights = read_weights(path)
    if path.suffix == ".pth" and variant == "caffe":  # torch's names, Caffe's network
        names = {name: layer for layer, name in BACKBONES["caffe"].torch_names.items()}
        layers = {names[name]: blobs for name, blobs in weights.layers.items()}
        weights = dataclasses.replace(weights, architecture="caffe", layers=layers)
    blank = model_of(template(SMALL | {"fc8": (9, 300)}), variant)
    model, report = port_weights(weights, blank)
    assert not report.random
    return model.params


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_dict_reads_back_bit_for_bit(tmp_path, variant):
    params = random_params()
    (tmp_path / "net.pth").write_bytes(state_dict(model_of(params, variant)))
    assert_bits_equal(read_back(tmp_path / "net.pth", variant), params)


def test_a_state_dict_of_an_embedding_has_class_vectors_beside(tmp_path):
    params = random_params()
    vectors = np.float32(np.arange(600).reshape(300, 2))
    config = ModelConfig("torchvision", ("a", "b"), SIZE, (), embedding=300)
    model = Model(params | {"class_vectors": {"kernel": vectors}}, config)
    (tmp_path / "net.pth").write_bytes(state_dict(model))
    layers = read_weights(tmp_path / "net.pth").layers
    np.testing.assert_array_equal(layers["class_vectors"]["kernel"], vectors.T)
    np.testing.assert_array_equal(layers["classifier.6"]["kernel"], params["fc8"]["kernel"].T)
    with pytest.raises(ValueError, match="AlexNet with an embedding of 300"):
        caffemodel(model)


def test_an_efficientnet_lite_with_an_embedding_is_no_network_of_torch(tmp_path):
    """Its classifier reads two layers, which no module of those names does."""
    names, variant = ("a", "b"), "efficientnet-lite0"
    config = ModelConfig(variant, names, 32, ())
    shapes = jax.eval_shape(lambda: init_model(config, 0)).params
    plain = Model(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), config)
    (tmp_path / "net.pth").write_bytes(state_dict(plain))
    layers = read_weights(tmp_path / "net.pth").layers
    assert layers["_fc"]["kernel"].shape == (2, 1280) and "_blocks.15._project_conv" in layers
    with pytest.raises(
        ValueError, match=r"EfficientNet-Lite0 with an embedding of 5 .* has none; write a folder"
    ):
        state_dict(plain.replace(config=config._replace(embedding=5)))


def test_a_caffemodel_reads_back_bit_for_bit(tmp_path):
    params = random_params()
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(model_of(params)))
    assert read_weights(tmp_path / "net.caffemodel").architecture == "caffe"
    assert_bits_equal(read_back(tmp_path / "net.caffemodel", "caffe"), params)


def test_jax_arrays_are_written_as_well(tmp_path):
    params = random_params()
    on_device = jax.device_put(params)
    assert state_dict(model_of(on_device)) == state_dict(model_of(params))


def test_a_caffemodel_byte_by_byte():
    """Against an encoder that was written for the reader's tests."""
    params = random_params()
    expected = chunk(1, b"AlexNet")
    for layer in SMALL:
        kernel, bias = params[layer]["kernel"], params[layer]["bias"]
        kernel = kernel.T if layer.startswith("fc") else kernel.transpose(3, 2, 0, 1)
        kind = b"InnerProduct" if layer.startswith("fc") else b"Convolution"
        body = chunk(1, layer.encode()) + chunk(2, kind)
        expected += chunk(100, body + b"".join(chunk(7, blob_bytes(b)) for b in (kernel, bias)))
    assert caffemodel(model_of(params)) == expected


def test_storages_lie_at_multiples_of_64_bytes(tmp_path):
    path = tmp_path / "net.pth"
    content = state_dict(model_of(random_params(), "torchvision"))
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack_from("<HH", content, entry.header_offset + 26)
            assert (entry.header_offset + 30 + name + extra) % 64 == 0


def test_torch_needs_only_its_own_names():
    stream = state_dict(model_of(random_params(), "torchvision"))
    with zipfile.ZipFile(io.BytesIO(stream)) as archive:
        opcodes = list(pickletools.genops(archive.read("archive/data.pkl")))
    names = {argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    assert names == {
        "collections OrderedDict",
        "torch FloatStorage",
        "torch._utils _rebuild_tensor_v2",
    }


@pytest.mark.parametrize("write", [caffemodel, state_dict])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc9": {}}, r"the parameters have the layers .*'fc9'\], expected"),
        (
            {"fc7": {"kernel": np.ones((7, 9)), "bias": np.ones(9)}},
            "fc7/kernel is float64, expected",
        ),
        (
            {"conv1": {"kernel": np.full((3, 2, 3, 4), np.nan, np.float32)}},
            "conv1/kernel has 72 values of 72 that are not finite; take an earlier checkpoint",
        ),
    ],
)
def test_what_is_no_alexnet_is_refused(write, changes, message):
    with pytest.raises(ValueError, match=message):
        write(model_of(random_params() | changes))


def test_variants():
    with pytest.raises(
        ValueError, match=r"a \.caffemodel is of Caffe's AlexNet, .* of torchvision's"
    ):
        caffemodel(model_of(random_params(), "torchvision"))
    for write in (caffemodel, state_dict):
        with pytest.raises(
            ValueError, match="backbone='vgg' is unknown; choose one of caffe, torch"
        ):
            write(model_of(random_params(), "vgg"))


# --- torch itself -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is no dependency; install it to compare")


def torch_network(nn, variant, classes):
    """The two sequences: the module's docstring for Caffe's, torchvision's own source for its."""

    def normalised():
        return [nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, ceil_mode=True)]

    if variant == "caffe":
        features = [
            nn.Conv2d(3, 96, 11, 4), *normalised(),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), *normalised(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ]  # fmt: skip
        classifier = [
            nn.Linear(256, 4096), nn.ReLU(), nn.Dropout(),  # one cell of pool5 at this size
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, classes),
        ]  # fmt: skip
        pool = nn.Identity()
    else:
        features = [
            nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        ]  # fmt: skip
        classifier = [
            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
        ]  # fmt: skip
        pool = nn.AdaptiveAvgPool2d((6, 6))
    parts = {"features": nn.Sequential(*features), "avgpool": pool, "flatten": nn.Flatten()}
    return nn.Sequential(
        collections.OrderedDict(parts, classifier=nn.Sequential(*classifier))
    ).eval()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_loads_the_file(torch, tmp_path, variant, mapped):
    params = random_params()
    (tmp_path / "net.pth").write_bytes(state_dict(model_of(params, variant)))
    loaded = torch.load(tmp_path / "net.pth", weights_only=True, mmap=mapped)
    names = {layer: BACKBONES[variant].torch_names[layer] for layer in SMALL}
    assert list(loaded) == [f"{n}.{leaf}" for n in names.values() for leaf in ("weight", "bias")]
    for layer, name in names.items():
        for leaf, ours in (("weight", "kernel"), ("bias", "bias")):
            tensor = loaded[f"{name}.{leaf}"].numpy()
            array = params[layer][ours]
            if array.ndim == 4:
                array = array.transpose(3, 2, 0, 1)
            assert np.array_equal(
                tensor.view(np.uint32),
                array.T.view(np.uint32)
                if array.ndim == 2
                else np.ascontiguousarray(array).view(np.uint32),
            )


@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_runs_the_network(torch, tmp_path, variant):
    config = ModelConfig(variant, tuple("abcde"), SIZE, ())
    model = Model(he_params(config), config)
    (tmp_path / "net.pth").write_bytes(state_dict(model))
    with torch.device("meta"):  # no values of its own: every one must come from the file
        network = torch_network(torch.nn, variant, 5)
    loaded = torch.load(tmp_path / "net.pth", weights_only=True)
    network.load_state_dict(loaded, strict=True, assign=True)
    images = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    inputs = np.asarray(model.backbone.preprocess(images))
    ours, _ = model.apply(inputs)
    with torch.no_grad():
        theirs = network(torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.ptp(theirs, axis=0).max() > 1e-4 * np.abs(theirs).max()  # images differ
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
