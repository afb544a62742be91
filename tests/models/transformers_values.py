"""What transformers computes of the folders of tests/models/hugging_face_folders.py.

IMAGE_VALUES and TEXT_VALUES are what `python -m tests.models.transformers_values` printed with torch
2.13.0 and transformers 5.24.0, on a CPU; transformers_test.py compares them with what is installed.
"""

import pathlib
import tempfile

import numpy as np

from tests.models.hugging_face_folders import CONFIGS, IDS, SIZE, pixels, write_folder

SIZES = ((SIZE, SIZE), (33, 52))
ENDS = (2, 3, 39)
IMAGE_VALUES = {
    ("siglip", (24, 24), "block1"): [-1.067482, 2.08222, -2.393471, 32.12319],
    ("siglip", (24, 24), "block2"): [0.133593, -0.439633, -4.334092, 40.30075],
    ("siglip", (24, 24), "pooled"): [0.252497, -1.595401, -0.576859, 8.21603],
    ("siglip", (24, 24), "patches"): [-0.141236, -0.19094, -2.118933, 18.58966],
    ("siglip", (33, 52), "block1"): [-1.234511, 1.312384, -0.990971, 51.31945],
    ("siglip", (33, 52), "block2"): [-0.499884, 1.229547, -0.482209, 64.11852],
    ("siglip", (33, 52), "pooled"): [1.216055, -2.843706, -0.216929, 7.67976],
    ("siglip", (33, 52), "patches"): [-0.77999, 0.463999, -0.798044, 32.1328],
    ("clip", (24, 24), "block1"): [-2.428521, 1.922047, -3.229384, 29.26015],
    ("clip", (24, 24), "block2"): [-1.250487, 1.096852, -3.901685, 37.6263],
    ("clip", (24, 24), "pooled"): [2.517867, -0.991193, -0.793588, 5.96855],
    ("clip", (24, 24), "projected"): [-1.382702, -0.287815, 0.414603, 4.81904],
    ("clip", (33, 52), "block1"): [-1.3342, 0.875857, -2.691328, 46.21758],
    ("clip", (33, 52), "block2"): [-0.295113, 1.445698, -1.466625, 63.0718],
    ("clip", (33, 52), "pooled"): [1.698096, -0.524353, -0.233295, 6.37941],
    ("clip", (33, 52), "projected"): [-2.026525, -0.464062, -2.498086, 7.07054],
    ("dinov2", (24, 24), "block1"): [2.103085, -1.506645, 1.550584, 43.11079],
    ("dinov2", (24, 24), "block2"): [4.190792, -4.222835, 2.070292, 48.87026],
    ("dinov2", (24, 24), "pooled"): [0.379562, -0.848581, 0.729172, 6.62916],
    ("dinov2", (24, 24), "patches"): [0.839872, -1.913521, 0.829801, 18.01546],
    ("dinov2", (33, 52), "block1"): [-0.766405, -0.611161, 0.940116, 62.39065],
    ("dinov2", (33, 52), "block2"): [2.438034, -2.214516, 1.026184, 74.04004],
    ("dinov2", (33, 52), "pooled"): [0.469689, -0.812547, 0.950462, 6.18343],
    ("dinov2", (33, 52), "patches"): [0.235654, -1.669746, 0.536355, 29.33738],
    ("dinov2_gated", (24, 24), "block1"): [4.591843, -1.474797, 1.491187, 43.81319],
    ("dinov2_gated", (24, 24), "block2"): [4.370029, -3.775652, 0.702227, 53.9234],
    ("dinov2_gated", (24, 24), "pooled"): [0.380367, -0.448258, 0.753726, 6.44597],
    ("dinov2_gated", (24, 24), "patches"): [1.211089, -1.535685, 0.715878, 17.65894],
    ("dinov2_gated", (33, 52), "block1"): [-0.209449, -1.138315, 2.244661, 65.85682],
    ("dinov2_gated", (33, 52), "block2"): [0.805327, -2.646576, 0.154521, 89.98709],
    ("dinov2_gated", (33, 52), "pooled"): [1.060751, -0.840227, 0.30933, 5.56308],
    ("dinov2_gated", (33, 52), "patches"): [-0.318951, -1.506199, 0.416334, 28.75895],
}
TEXT_VALUES = {
    "siglip": [-0.330184, 0.093309, -0.256985, 0.14998],
    "clip, end 2": [-0.192974, -0.246055, -0.233058, -0.191421],
    "clip, end 3": [-0.152411, -0.061851, -0.183366, -0.242456],
    "clip, end 39": [-0.134663, -0.129233, -0.233058, -0.191421],
}


def image_values(folder, inputs):
    """Outputs of the blocks, "patches" and what is pooled, of pictures [b, h, w, 3]."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tower = getattr(model, "vision_model", model)
    more = {} if tower is model else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        picture = torch.tensor(inputs).permute(0, 3, 1, 2)
        out = tower(picture, output_hidden_states=True, **more)
        values = {f"block{i}": h for i, h in enumerate(out.hidden_states[1:], start=1)}
        values["pooled"] = out.pooler_output
        if hasattr(model, "visual_projection"):
            values["projected"] = model.visual_projection(out.pooler_output)
        else:
            first = tower is model  # the class token
            values["patches"] = out.last_hidden_state[:, first:]
    return {name: value.numpy() for name, value in values.items()}


def text_values(folder, ids):
    """Features of texts of token ids [b, t], of length 1."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model.get_text_features(torch.tensor(ids, dtype=torch.long)).pooler_output
    return (out / out.norm(dim=-1, keepdim=True)).numpy()


def summary(values):
    """Four numbers of an array: the last entries, and the norm."""
    flat = np.asarray(values, np.float64).ravel()
    return [*(round(float(x), 6) for x in flat[-3:]), round(float(np.linalg.norm(flat)), 5)]


def text_summary(values):
    """The last two entries of each feature."""
    return np.round(np.asarray(values, np.float64)[:, -2:].ravel(), 6).tolist()


def text_folder(folder, end):
    """CLIP's folder with another end token."""
    text = CONFIGS["clip"]["text_config"] | {"eos_token_id": end}
    return write_folder(folder, "clip", config={"text_config": text})


def main():
    for kind in CONFIGS:
        with tempfile.TemporaryDirectory() as name:
            folder = write_folder(pathlib.Path(name), kind)
            for size in SIZES:
                for layer, value in image_values(folder, pixels(size)).items():
                    print(f"    ({kind!r}, {size}, {layer!r}): {summary(value)},")
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(pathlib.Path(name), "siglip")
        print(f"    'siglip': {text_summary(text_values(folder, IDS))},")
    for end in ENDS:
        with tempfile.TemporaryDirectory() as name:
            folder = text_folder(pathlib.Path(name), end)
            print(f"    'clip, end {end}': {text_summary(text_values(folder, IDS))},")


if __name__ == "__main__":
    main()
