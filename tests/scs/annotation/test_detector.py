"""Text prompts: OWLv2 at a tiny size, random, with its own processor."""

import json
import shutil
import string
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands.scs.main import main
from egowm.scs.annotation.detector import Detector, distinct, read_names
from egowm.scs.annotation.prompts import Prompt
from egowm.scs.masks import read_masks

from . import test_annotate

PICTURES = "processor_config.json"  # how they are prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random OWLv2 for pictures of 32x32 in a folder of transformers; its boxes are scattered."""
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    folder = tmp_path_factory.mktemp("detector")
    letters = list(string.ascii_lowercase)
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={w: k for k, w in enumerate(words)}, merges=[])
    tokenizer.model_max_length = 16
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = Owlv2Config(
        text_config={**small, **ends, "vocab_size": len(words)},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    torch.manual_seed(0)
    model = Owlv2ForObjectDetection(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    pictures = Owlv2ImageProcessor(size={"height": 32, "width": 32})
    Owlv2Processor(pictures, tokenizer).save_pretrained(folder)
    return folder


def test_boxes_are_those_of_the_model(folder):
    """The same boxes by hand: relative to the longer side, because the picture is padded."""
    detector = Detector(folder, threshold=0.3)
    frame = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    found = detector.find(frame, ["chair", "door"])
    given = detector.processor(images=frame, text=[["chair", "door"]], return_tensors="pt")
    with torch.inference_mode():
        out = detector.model(**given)
    scores, label = out.logits[0].sigmoid().max(-1)
    x, y, w, h = (out.pred_boxes[0] * 40).T.numpy()
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    boxes = boxes.clip(0, [40, 24, 40, 24])
    order = [k for k in scores.argsort(descending=True, stable=True).tolist() if scores[k] > 0.3]
    order = [k for k in order if (boxes[k, 2:] > boxes[k, :2]).all()]
    want = distinct(boxes, order)[:16]
    assert 0 < len(want) < len(scores)
    assert [p.id for p in found] == list(range(1, len(want) + 1))
    np.testing.assert_allclose([p.box for p in found], boxes[want], atol=1e-3)
    assert [p.label for p in found] == [["chair", "door"][label[k]] for k in want]
    assert all(p.size == (24, 40) and not len(p.points) for p in found)


def test_one_thing_is_boxed_once():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6], [20, 0, 30, 10.0]])
    assert distinct(boxes, [0, 1, 2, 3]) == [0, 2, 3]  # IoU with the first: 0.8, 0.6, 0


def box_squares(self, frame, names):
    """A detector that boxes each square of the world in turn."""
    none = (np.zeros((0, 2)), np.zeros(0, int))
    return [
        Prompt(k + 1, name, *none, np.array([4, 3 + 15 * k, 14, 13 + 15 * k]), (64, 64))
        for k, name in enumerate(names)
    ]


def test_annotations_by_name(world, folder, tmp_path, capsys, monkeypatch):
    """Each mask is the square under its name."""
    monkeypatch.setattr(Detector, "find", box_squares)
    monkeypatch.setitem(sys.modules, "seeing", test_annotate)
    argv = ["annotate", str(world.gt), "--tracker", "seeing.Seeing", "--output"]
    argv += [str(tmp_path / "found"), "--detector", str(folder), "--text", "chair, door, shelf"]
    assert main(argv) == 0
    record = json.loads((tmp_path / "found" / "annotations.json").read_text())
    assert record["how"]["names"] == "chair, door, shelf"
    for name, truth in world.truth.items():
        found = read_masks(tmp_path / "found" / f"{name}.png")
        labels = record["clips"][name]["labels"]
        assert set(labels.values()) == {"chair", "door", "shelf"}
        for number, mask in zip(found.ids, found.masks[0], strict=True):
            square = ["chair", "door", "shelf"].index(labels[str(number)]) + 1
            np.testing.assert_array_equal(mask, truth[0] == square)


def test_what_is_missing_is_named(world, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "seeing", test_annotate)
    argv = ["annotate", str(world.gt), "--tracker", "seeing.Seeing", "--output"]
    argv += [str(tmp_path / "found"), "--text"]
    assert main([*argv, "chair"]) == 2
    assert "--text needs --detector" in capsys.readouterr().err
    assert main([*argv, "chair", "--detector", "nobody/owl"]) == 2
    assert "nobody/owl: no OWLv2 that can be read here. Bring a folder" in capsys.readouterr().err
    assert main([*argv, "Person, chair", "--detector", str(folder)]) == 2
    assert "got person" in capsys.readouterr().err


@pytest.mark.parametrize(
    "part",
    ["config.json", "model.safetensors", "tokenizer_config.json", "tokenizer.json", PICTURES],
)
def test_a_file_that_is_missing_is_named(folder, part, tmp_path, monkeypatch, online):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^models/owl: no OWLv2 that can be read here\. Bring"):
        Detector("models/owl")
    shutil.copytree(folder, "models/owl")
    Path("models/owl", part).unlink()
    with pytest.raises(ValueError) as caught:
        Detector("models/owl")
    assert part in str(caught.value).partition(" found none")[0]
    assert "Bring a folder with OWLv2" in str(caught.value)


def test_names():
    assert read_names(" chair,door , window") == ["chair", "door", "window"]
    with pytest.raises(ValueError, match="got none"):
        read_names(" , ")
