"""A base's scheduler is followed as the stock pipeline follows it, or refused by key and value."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import egowm.backbones
from egowm import sampler
from egowm.backbones.cosmos3.model import Cosmos3
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

from .conftest import FAMILIES
from .test_families import context, distance, generator, stock_latents
from .test_missing_parts import line_of

EULER = "FlowMatchEulerDiscreteScheduler"
SETTINGS = Path("scheduler/scheduler_config.json")
PLAIN = {"use_karras_sigmas": False}
# What else than the usual is followed: settings, and the class where it is another.
FOLLOWED: list[tuple[str, dict[str, Any], str]] = [
    ("svd", PLAIN, ""),
    ("svd", PLAIN | {"timestep_spacing": "trailing"}, ""),
    ("svd", PLAIN | {"timestep_spacing": "linspace"}, ""),
    ("svd", PLAIN | {"use_exponential_sigmas": True, "steps_offset": 0}, ""),
    ("svd", PLAIN | {"use_beta_sigmas": True, "timestep_spacing": "trailing"}, ""),
    ("svd", {"final_sigmas_type": "sigma_min", "sigma_min": 0.5}, ""),
    ("svd", {"sigma_min": None, "sigma_max": None}, ""),
    ("predict1", {"prediction_type": "v_prediction", "final_sigmas_type": "zero"}, ""),
    ("predict1", {"sigma_data": 0.8, "rho": 5.0, "sigma_max": 40.0}, ""),
    ("predict1", {"sigma_schedule": "exponential"}, ""),
    ("predict2", {"shift": 3.0, "sigma_max": 20.0, "final_sigmas_type": "zero"}, ""),
    ("predict2.5", {"use_karras_sigmas": False, "flow_shift": 4.0}, ""),
    ("predict2.5", {"shift": 5.0}, EULER),
    ("wan2.2", {"flow_shift": 9.0}, ""),
    ("wan2.2", {"shift": 5.0, "use_exponential_sigmas": True}, EULER),
    ("wan2.1", {"solver_order": 3}, "DPMSolverMultistepScheduler"),
    ("ltx", {"use_dynamic_shifting": False, "shift": 4.0, "shift_terminal": None}, ""),
    ("ltx", {"time_shift_type": "linear", "base_shift": 1.5, "use_karras_sigmas": True}, ""),
]
_NONE = "use_dynamic_shifting True is not supported: expected False"
REFUSED = [
    ("svd", {"prediction_type": "epsilon"}, "prediction_type 'epsilon'.*'v_prediction'"),
    ("svd", {"prediction_type": "sample"}, "prediction_type 'sample'.*'v_prediction'"),
    ("svd", {"timestep_type": "discrete"}, "timestep_type 'discrete'.*'continuous'"),
    ("svd", {"timestep_type": ...}, "timestep_type 'discrete'.*'continuous'"),
    ("svd", {"interpolation_type": "log_linear"}, "'log_linear'.*'linear'"),
    ("svd", {"sigma_max": 0.001}, "2 noise levels, falling towards 0.* got 0.001, 0.02, 0"),
    ("svd", {"sigma_min": "low"}, "cannot be read"),
    ("svd", {"final_sigmas_type": "one"}, "cannot be read .*got one"),
    ("svd", {"num_train_timesteps": 10**13}, "num_train_timesteps 10000000000000 .*1000"),
    ("predict1", {"prediction_type": "sample"}, "'sample'.*'epsilon' or 'v_prediction'"),
    ("predict1", {"sigma_data": 0.0}, "expected sigma_data above 0"),
    ("predict1", {"sigma_data": "half"}, "sigma_data 'half'"),
    ("predict1", {"sigma_schedule": "even"}, "cannot be read"),
    ("predict2", {"use_karras_sigmas": False}, "use_karras_sigmas False.*expected True"),
    ("predict2", {"use_dynamic_shifting": True}, _NONE),
    ("predict2", {"invert_sigmas": True}, "invert_sigmas True"),
    ("predict2", {"stochastic_sampling": True}, "stochastic_sampling True"),
    ("predict2.5", {"prediction_type": "epsilon"}, "'epsilon'.*expected 'flow_prediction'"),
    ("predict2.5", {"prediction_type": ...}, "'epsilon'.*expected 'flow_prediction'"),
    ("predict2.5", {"use_flow_sigmas": False}, "use_flow_sigmas False.*expected True"),
    ("wan2.1", {"prediction_type": "v_prediction"}, "'v_prediction'.*'flow_prediction'"),
    ("wan2.1", {"predict_x0": False}, "predict_x0 False"),
    ("wan2.1", {"thresholding": True}, "thresholding True"),
    ("wan2.2", {"use_dynamic_shifting": True}, _NONE),
    ("wan2.2", {"use_beta_sigmas": True}, "none above 1, got "),
    ("wan2.2", {"flow_shift": 0.0}, "falling towards 0"),
    ("wan2.2", {"flow_shift": math.nan}, "flow_shift nan"),
    ("wan2.2", {"solver_order": 10**10}, "solver_order 10000000000"),
    ("ltx", {"invert_sigmas": True}, "invert_sigmas True"),
    ("ltx", {"base_shift": 1e5}, "cannot be read"),
    ("ltx", {"max_image_seq_len": 1024}, "cannot be read .*zero"),
    ("cdit", {"prediction_type": "v_prediction"}, "'v_prediction'.*expected 'epsilon'"),
    ("cdit", {"variance_type": ...}, "'fixed_small'.*expected 'learned_range'"),
    ("cdit", {"timestep_spacing": "trailing"}, "'trailing'.*expected 'linspace'"),
    ("cdit", {"clip_sample": ...}, "clip_sample True"),
    ("cdit", {"beta_end": -0.02}, "falling towards 0"),
    ("cdit", {"beta_schedule": "even"}, "cannot be read"),
]


def _changed(base: Path, target: Path, settings: dict[str, Any], kind: str = "") -> Path:
    """A copy whose scheduler has other settings, `...` for a key that is gone."""
    shutil.copytree(base, target)
    before = {} if kind else json.loads((target / SETTINGS).read_text())
    if kind == "DPMSolverMultistepScheduler":
        before = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 2.0}
    after = {k: v for k, v in (before | settings).items() if v is not ...}
    (target / SETTINGS).write_text(json.dumps(after))
    if kind:
        index = json.loads((target / "model_index.json").read_text())
        index["scheduler"] = ["diffusers", kind]
        (target / "model_index.json").write_text(json.dumps(index))
    return target


def _loaded(name: str, base: Path) -> Any:
    backbone = getattr(egowm.backbones, FAMILIES[name].backbone)(str(base))
    backbone.load()
    return backbone


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize(("name", "settings", "kind"), FOLLOWED)
def test_followed_as_by_the_stock_pipeline(name, settings, kind, tiny, spec, tmp_path, monkeypatch):
    family = FAMILIES[name]
    base = _changed(tiny(name), tmp_path / "base", settings, kind)
    torch.manual_seed(1)
    model = WorldModel(_loaded(name, base), chunk=family.horizon, spec=spec).eval()
    model.configure_model()
    if name == "predict1":
        model.backbone.context_noise = 0.0
    frame = context(family)
    picture = Image.fromarray(np.array(frame[0, 0].permute(1, 2, 0)))
    expected = stock_latents(base, family, model, picture)
    given, actions = model.backbone.context_latents, torch.zeros(1, family.horizon, 3)
    takes_euler_steps = kind == EULER or name in ("svd", "predict1", "predict2", "ltx")
    if not takes_euler_steps:  # the first step of the others is one
        euler = sampler.euler
        monkeypatch.setattr(sampler, "euler", lambda f, noisy, s: euler(f, noisy, s[:2]))
    how = Sampling(steps=3)
    found = model.rollout(frame, actions, how, generator=generator(7)).latents
    wanted = expected[-1 if takes_euler_steps else 0][:, given:]
    assert wanted.isfinite().all()
    assert distance(found, wanted) < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25, 50])
@pytest.mark.parametrize("name", ["wan2.1", "predict2.5"])
def test_all_levels_and_times_are_a_solver_s(name, steps, tiny):
    """UniPC's steps are not compared beyond the first, but its levels and times are the same."""
    from diffusers import UniPCMultistepScheduler

    process = _loaded(name, tiny(name)).process
    stock = UniPCMultistepScheduler.from_pretrained(tiny(name) / "scheduler", local_files_only=True)
    stock.set_timesteps(steps)
    levels = process.sigmas(steps)
    assert torch.equal(levels, stock.sigmas)
    if name == "wan2.1":
        assert process.time(levels[:-1]).tolist() == stock.timesteps.tolist()
    noisy, output = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    stock._step_index = steps // 2
    meant = stock.convert_model_output(output, sample=noisy)
    found = process.denoised(output, noisy, levels[steps // 2].expand(2))
    torch.testing.assert_close(found, meant)


@pytest.mark.long
@pytest.mark.parametrize("steps", [1, 2, 7, 25, 50])
def test_the_shipped_base_has_the_levels_that_it_had(steps):
    process = _loaded("svd", Path("priors/rooms-svd")).process
    assert process.sigma_data == 1.0
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (80 ** (1 / 7) + ramp * (0.02 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert torch.equal(process.sigmas(steps), torch.cat([levels, torch.zeros(1)]).float())
    assert torch.equal(process.initial(torch.ones(1), 80.0), torch.ones(1) * (80.0**2 + 1) ** 0.5)


@pytest.mark.parametrize(("name", "settings", "words"), REFUSED)
def test_refused_by_key_and_value(name, settings, words, tiny, tmp_path):
    base = _changed(tiny(name), tmp_path / "base", settings)
    with pytest.raises(ValueError, match=words) as caught:
        _loaded(name, base)
    line = line_of(caught.value)
    assert line.startswith(str(base / "scheduler"))
    assert "\n" not in line


@pytest.mark.parametrize("entry", [..., None, "EulerDiscreteScheduler", ["diffusers"], [1, 2], {}])
def test_an_index_without_a_scheduler_it_knows(entry, tiny, tmp_path):
    base = shutil.copytree(tiny("predict2"), tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text())
    index = {k: v for k, v in (index | {"scheduler": entry}).items() if v is not ...}
    (base / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"scheduler .* is not supported: expected {EULER}") as bad:
        _loaded("predict2", base)
    assert line_of(bad.value).startswith(str(base / "model_index.json"))


@pytest.mark.parametrize("text", ["", "{", "[]", "[1, 2]", "3", "null", '{"a": 1}}', "\x00"])
@pytest.mark.parametrize("name", ["svd", "wan2.2"])
def test_damaged_settings(name, text, tiny, tmp_path):
    base = shutil.copytree(tiny(name), tmp_path / "base")
    (base / SETTINGS).write_text(text)
    with pytest.raises(ValueError, match=r"cannot be read|is not supported") as caught:
        _loaded(name, base)
    assert line_of(caught.value).startswith(str(base / SETTINGS))


def test_a_level_that_ends_above_0_needs_two_steps(tiny, tmp_path):
    base = _changed(tiny("wan2.2"), tmp_path / "base", {"final_sigmas_type": "sigma_min"})
    process = _loaded("wan2.2", base).process
    assert process.sigmas(3)[-1] == process.sigmas(3)[-2] > 0
    with pytest.raises(ValueError, match="end above 0, expected at least 2 sampling steps, got 1"):
        process.sigmas(1)


def test_cosmos_3_needs_a_scheduler_with_a_flow_shift(spec):
    from types import SimpleNamespace

    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    config = SimpleNamespace(action_gen=True)
    pipeline = SimpleNamespace(
        transformer=SimpleNamespace(config=config), vae_scale_factor_temporal=4
    )
    for scheduler, words in (
        (FlowMatchEulerDiscreteScheduler(), f"{EULER} is not supported"),
        (UniPCMultistepScheduler(use_flow_sigmas=True), "prediction_type 'epsilon'"),
    ):
        pipeline.scheduler = scheduler
        with pytest.raises(ValueError, match=words):
            Cosmos3(pipeline, spec)
