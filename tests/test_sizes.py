"""Settings of models: what their classes take is taken, also where the default is another kind."""

import json

import diffusers
import pytest

from egowm.sizes import check_types


@pytest.mark.parametrize(
    ("name", "key", "right", "wrong"),
    [
        ("UNetSpatioTemporalConditionModel", "layers_per_block", [2, [1, 2]], ["2", [1, "2"]]),
        ("UNetSpatioTemporalConditionModel", "cross_attention_dim", [8, [8, 16]], [[8, 10**9]]),
        (
            "UNetSpatioTemporalConditionModel",
            "transformer_layers_per_block",
            [[1, 1]],
            ["1", [True, 2]],
        ),
        ("UNetSpatioTemporalConditionModel", "in_channels", [8], [[8]]),
        ("AutoencoderKL", "block_out_channels", [[32, 64]], [1.5]),
        ("AutoencoderKL", "scaling_factor", [1, 0.5], [[0.5], "1"]),
    ],
)
def test_settings_as_their_class_takes_them(name, key, right, wrong, tmp_path):
    kind = getattr(diffusers, name)
    for value in right:
        check_types(kind, json.loads(json.dumps({key: value})), tmp_path)
    for value in wrong:
        with pytest.raises(ValueError, match=f"{key} .* is not supported"):
            check_types(kind, {key: value}, tmp_path)
