"""Parts of pretrained pipelines, from folders on this machine and from nowhere else.

diffusers and transformers take a folder that is not there for the name of a repository, and ask the
internet for it. So the files of a part are looked for first, and the one that is missing is named.
Every function raises FileNotFoundError for a missing file, ValueError for one that cannot be read.
"""

import inspect
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from egowm.paths import inside

if TYPE_CHECKING:
    import torch

INDEX, CONFIG = "model_index.json", "config.json"
EMPTY = "empty_text.safetensors"  # of a folder without a text encoder: what "" means
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
VOCABULARY = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json", "vocab.txt")
MOST_WEIGHTS, MOST_TENSORS = 10**12, 10_000  # of a part; published ones have some hundred tensors
VARIANTS = ("", ".fp16")  # of weights; the plain ones go first


def load_model(cls: Any, folder: Path, dtype: "torch.dtype | Literal['auto'] | None" = None) -> Any:
    """A model of diffusers or transformers with its weights, in float32 if nothing else is asked.

    dtype: of the weights; "auto" is what the folder of a model of transformers says.
    """
    import torch

    expect(folder, CONFIG)
    of_diffusers = hasattr(cls, "load_config")
    stem = "diffusion_pytorch_model" if of_diffusers else "model"
    variant = variant_of(folder, stem)
    options: dict[str, Any] = {"variant": variant[1:]} if variant else {}
    options["torch_dtype" if of_diffusers else "dtype"] = dtype or torch.float32
    options |= {"use_safetensors": True, "output_loading_info": True}
    _check_config(cls, folder)
    with readable(folder), no_larger_than(*_held(folder, stem)):
        model, info = cls.from_pretrained(folder, local_files_only=True, **options)
        if missing := sorted(info.get("missing_keys", ())):  # the library would draw them
            raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
    return model


def untrained(cls: Any, folder: Path, largest: int | None = None) -> Any:
    """The same in float32 from its configuration alone, with weights that the class draws.

    largest: number of weights above which it is refused; that which this machine holds by default.
    """
    import torch

    expect(folder, CONFIG)
    _check_config(cls, folder)
    most = largest or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    with readable(folder), no_larger_than(most, MOST_TENSORS):
        if hasattr(cls, "load_config"):
            return cls.from_config(cls.load_config(folder, local_files_only=True))
        config = cls.config_class.from_pretrained(folder, local_files_only=True)
        config.dtype = torch.float32  # the folder's may say float16
        return cls(config)


def load_processor(cls: Any, folder: Path) -> Any:
    """What prepares the inputs of a model of transformers, by one of its classes for that."""
    expect(folder, *PROCESSOR)
    with readable(folder):
        return cls.from_pretrained(folder, local_files_only=True)


def load_tokenizer(folder: Path) -> Any:
    """A tokenizer of transformers."""
    from transformers import AutoTokenizer

    expect_tokenizer(folder)
    with readable(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """What one of the folder's files of settings says."""
    expect(folder, name)
    with readable(folder / name):
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"expected a mapping, got {type(found).__name__}")
        return found


def hub_folder(
    name: str, wanted: Sequence[str], revision: str | None = None, download: bool = False
) -> Path | None:
    """Where the local hub cache has the wanted files of a repository, None where it has not.

    Nobody is asked for them but with `download`, the one place at which egowm uses a network.
    Raises ConnectionError, which says why, where that failed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    options: Any = {"allow_patterns": list(wanted), "local_files_only": not download}
    try:
        return Path(snapshot_download(name, revision=revision, **options))
    except (HFValidationError, OSError) as error:
        if not download:
            return None
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConnectionError(
            f"{name} was not downloaded ({reason}): copy its folder here and give the path."
        ) from error


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
            with readable(folder / index):
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


class Unreadable(ValueError):
    """A file or folder that cannot be read, in one line."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, what the libraries say of a damaged file becomes one line that names it."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # what they warn of is told by the error, or no fault
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # a library raises what it likes
        reason = shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise Unreadable(f"{path} cannot be read ({reason}): copy it again, as a whole.") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def no_larger_than(weights: int, tensors: int) -> Iterator[None]:
    """The block in which modules are refused as soon as they have more weights or tensors, before
    these take memory: damaged settings ask for terabytes, or for layers without end."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    counted = [0, 0]

    def count(module: Any, name: str, parameter: Any) -> None:
        counted[0] += 0 if parameter is None else parameter.numel()
        counted[1] += 1
        if counted[0] > weights or counted[1] > tensors:
            raise ValueError(
                f"its settings ask for more than {weights} weights in {tensors} tensors, which is "
                f"more than there are"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def check_types(cls: Any, settings: Mapping[str, Any], file: Path, largest: int) -> None:
    """Refuse settings of other types than the defaults of a constructor, and larger numbers."""
    for key, parameter in inspect.signature(cls.__init__).parameters.items():
        value, default = settings.get(key, parameter.default), parameter.default
        if value is None or value == default or default in (None, inspect.Parameter.empty):
            continue
        kinds: Any = {bool: bool, int: (int, float), float: (int, float), str: str}
        kind = kinds.get(type(default), (list, tuple, dict, int, str, type(None)))
        numbers = [x for x in (value if isinstance(value, list) else [value]) if _is_number(x)]
        fits = isinstance(value, kind) and (isinstance(value, bool) == isinstance(default, bool))
        if not fits or any(not abs(number) <= largest for number in numbers):
            raise ValueError(
                f"{file}: {key} {value!r} is not supported: expected a value like the default "
                f"{default!r}."
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_config(cls: Any, folder: Path) -> None:
    if hasattr(cls, "load_config"):  # transformers checks its own
        check_types(cls, read_json(folder, CONFIG), folder / CONFIG, 10**9)


def _held(folder: Path, stem: str) -> tuple[int, int]:
    """Weights and tensors that a model of this folder's files may have, generously."""
    from safetensors import safe_open

    weights = tensors = 0
    for file in folder.glob(f"{stem}*.safetensors"):
        with readable(file), safe_open(file, "pt") as held:
            shapes = [held.get_slice(name).get_shape() for name in held.keys()]  # noqa: SIM118
        weights += sum(map(prod, shapes))
        tensors += len(shapes)
    if not tensors:  # as where a step is traced from settings alone
        return MOST_WEIGHTS, MOST_TENSORS
    return 2 * weights + 1_000_000, 4 * tensors + 1000
