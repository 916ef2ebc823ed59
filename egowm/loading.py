"""Parts of pretrained pipelines, from folders on this machine and from nowhere else.

diffusers and transformers take a folder that is not there for the name of a repository, and ask the
internet for it. So the files of a part are looked for first, and the one that is missing is named.
Every function raises FileNotFoundError for a missing file, ValueError for one that cannot be read.
"""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from egowm.checks import counted
from egowm.limits import TEXT, read_bytes
from egowm.paths import inside
from egowm.readable import undamaged
from egowm.sizes import MOST_TENSORS, check_types, no_larger_than, room_for

if TYPE_CHECKING:
    import torch

INDEX, CONFIG = "model_index.json", "config.json"
EMPTY = "empty_text.safetensors"  # of a folder without a text encoder: what "" means
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
VOCABULARY = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json", "vocab.txt")
VARIANTS = ("", ".fp16")  # of weights; the plain ones go first


def load_model(cls: Any, folder: Path, dtype: "torch.dtype | Literal['auto'] | None" = None) -> Any:
    """A model of diffusers or transformers with its weights, in float32 if nothing else is asked.

    dtype: of the weights; "auto" is what the folder of a model of transformers says.
    """
    import torch

    from egowm.network.finite import check_finite

    expect(folder, CONFIG)
    of_diffusers = hasattr(cls, "load_config")
    stem = "diffusion_pytorch_model" if of_diffusers else "model"
    variant = variant_of(folder, stem)
    options: dict[str, Any] = {"variant": variant[1:]} if variant else {}
    options["torch_dtype" if of_diffusers else "dtype"] = dtype or torch.float32
    options |= {"use_safetensors": True, "output_loading_info": True}
    _check_config(cls, folder)
    with undamaged(folder), no_larger_than(*room_for(folder.glob(f"{stem}*.safetensors"))):
        model, info = cls.from_pretrained(folder, local_files_only=True, **options)
        if missing := sorted(info.get("missing_keys", ())):  # the library would draw them
            weights = counted(len(missing), "weight is", "weights are")
            raise ValueError(f"{weights} missing, the first is {missing[0]}")
        check_finite(dict(model.named_parameters()), "its weights")
    return model


def untrained(cls: Any, folder: Path, largest: int | None = None) -> Any:
    """The same in float32 from its configuration alone, with weights that the class draws.

    largest: number of weights above which it is refused; by default those that fill half of this
        machine's memory.
    """
    import torch

    expect(folder, CONFIG)
    _check_config(cls, folder)
    most = largest or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
    with undamaged(folder), no_larger_than(most, MOST_TENSORS):
        if hasattr(cls, "load_config"):
            return cls.from_config(cls.load_config(folder, local_files_only=True))
        config = cls.config_class.from_pretrained(folder, local_files_only=True)
        config.dtype = torch.float32  # the folder's may say float16
        return cls(config)


def _check_config(cls: Any, folder: Path) -> None:
    if hasattr(cls, "load_config"):  # transformers checks its own
        check_types(cls, read_json(folder, CONFIG), folder / CONFIG)


def load_processor(cls: Any, folder: Path) -> Any:
    """What prepares the inputs of a model of transformers, by one of its classes for that."""
    expect(folder, *PROCESSOR)
    with undamaged(folder):
        return cls.from_pretrained(folder, local_files_only=True)


def load_tokenizer(folder: Path) -> Any:
    """A tokenizer of transformers."""
    from transformers import AutoTokenizer

    expect_tokenizer(folder)
    with undamaged(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """What one of the folder's files of settings says."""
    expect(folder, name)
    with undamaged(folder / name):
        found = json.loads(read_bytes(folder / name, TEXT).decode("utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"expected a mapping, got {type(found).__name__}")
        return found


# What a part needs --------------------------------------------------------------------------------


def expect(folder: Path, *names: str) -> None:
    """Refuse a folder that has none of these files."""
    if not any((folder / name).is_file() for name in names):
        instead = f" (or {', '.join(names[1:])})" if names[1:] else ""
        raise FileNotFoundError(
            f"Expected {folder / names[0]}{instead}, found none: copy the whole folder, nothing is "
            f"downloaded in its place."
        )


def expect_tokenizer(folder: Path) -> None:
    """Refuse one without its vocabulary, of which some classes would make an empty tokenizer."""
    expect(folder, "tokenizer_config.json")
    expect(folder, *VOCABULARY)


def variant_of(folder: Path, stem: str) -> str:
    """The variant ("" or ".fp16") of the weights in a folder, all shards of which are there."""
    for variant in VARIANTS:
        if (folder / f"{stem}{variant}.safetensors").is_file():
            return variant
        index = f"{stem}.safetensors.index{variant}.json"
        if (folder / index).is_file():
            content = read_json(folder, index)
            with undamaged(folder / index):
                shards = sorted(set(content["weight_map"].values()))
            for shard in shards:
                inside(folder, shard, str(folder / index))
                expect(folder, shard)
            return variant
    expect(folder, f"{stem}.safetensors")
    return ""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that are read of a pipeline, a part or an export, in order of names.

    A variant beside plain weights is not among them, nor is a file beside the parts of a pipeline,
    such as the original's in one piece; the embedding of "" is.
    """
    files, pipeline = [], (folder / INDEX).is_file()
    for file in sorted(folder.rglob("*.safetensors")):
        plain = file.with_name(re.sub(r"\.fp16(?=[.-])", "", file.name))
        shadowed = plain != file and (
            plain.is_file() or any(file.parent.glob("*.safetensors.index.json"))
        )
        beside = pipeline and file.parent == folder and file.name != EMPTY
        if not beside and not shadowed:
            files.append(file)
    return files
