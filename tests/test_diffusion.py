"""The processes and their sampler: the stock scheduler, closed forms, generators."""

import numpy as np
import pytest
import torch

from egowm.diffusion import EDM, EDMFlow, FlowMatching, denoising_loss, euler, randn

CPU = torch.device("cpu")
SVD = EDM()
SMALL = EDM(mean=0.5, sigma_min=0.02, sigma_max=80.0)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("process", [SVD, SMALL])
@pytest.mark.parametrize("steps", [1, 2, 7, 25])
def test_noise_levels_are_the_stock_scheduler_s(process, steps):
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
        sigma_min=process.sigma_min,
        sigma_max=process.sigma_max,
    )
    scheduler.set_timesteps(steps)
    sigmas = process.sigmas(steps)
    torch.testing.assert_close(sigmas, scheduler.sigmas, atol=1e-6, rtol=1e-5)
    times = process.time(sigmas[:-1])
    torch.testing.assert_close(times, scheduler.timesteps, atol=1e-5, rtol=1e-5)
    start = process.initial(torch.ones(1), process.sigma_max)
    torch.testing.assert_close(start, torch.tensor([float(scheduler.init_noise_sigma)]))
    assert sigmas[-1] == 0


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="at least 1 sampling step, got 0"):
        SVD.sigmas(0)


def test_scalings_are_k_diffusion_s():
    """sigma_data 1: c_skip, c_out and c_in as in Karras et al., table 1, v-prediction's sign."""
    sigma = torch.tensor([0.02, 0.5, 1.0, 30.0])
    noisy, output = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    s = sigma[:, None, None]
    skip, out, scale = 1 / (s**2 + 1), -s / (s**2 + 1).sqrt(), 1 / (s**2 + 1).sqrt()
    torch.testing.assert_close(SVD.scale_input(noisy, sigma), scale * noisy)
    torch.testing.assert_close(SVD.denoised(output, noisy, sigma), skip * noisy + out * output)
    # The loss weight makes the error of the network's own output count once at every noise level.
    torch.testing.assert_close(SVD.weight(sigma) * out.flatten() ** 2, torch.ones(4))


def test_the_network_s_target_is_unit_power():
    """With unit data, what the network must output, (c_skip noisy - x) / -c_out, has power 1."""
    data, noise = torch.randn(4, 40_000), torch.randn(4, 40_000)
    sigma = torch.tensor([0.05, 0.7, 3.0, 80.0])
    s = sigma[:, None]
    noisy = data + s * noise
    assert (SVD.scale_input(noisy, sigma).square().mean(1) - 1).abs().max() < 0.03
    target = (noisy / (s**2 + 1) - data) * (s**2 + 1).sqrt() / s
    assert (target.square().mean(1) - 1).abs().max() < 0.03


def test_training_levels_are_log_normal():
    drawn = EDM(0.3, 1.2).draw(50_000, CPU, torch.Generator().manual_seed(0)).log()
    assert abs(drawn.mean() - 0.3) < 0.02
    assert abs(drawn.std() - 1.2) < 0.02


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_euler_is_exact_for_one_point(steps):
    point = torch.tensor([[1.5, -2.0, 0.3]])
    noisy = point + 80 * torch.randn(4, 3)
    found = euler(lambda x, sigma: point.expand(4, 3), noisy, SMALL.sigmas(steps))
    torch.testing.assert_close(found, point.expand(4, 3), atol=1e-4, rtol=0)


def test_euler_converges_to_the_gaussian_s_flow():
    """Data N(mean, 0.5^2): the flow's exact map is mean + 0.5 / sqrt(0.25 + sigma^2) (x - mean)."""
    mean, std = 0.7, 0.5
    start = mean + (std**2 + 80**2) ** 0.5 * torch.randn(64, 2)
    exact = mean + std / (std**2 + 80**2) ** 0.5 * (start - mean)

    def denoise(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        s = sigma[:, None]
        return (std**2 * noisy + s**2 * mean) / (std**2 + s**2)

    errors = [
        (euler(denoise, start, SMALL.sigmas(steps)) - exact).abs().max().item()
        for steps in (10, 40, 160)
    ]
    assert errors[2] < 0.05
    assert errors[1] < errors[0] / 3  # first order: four times the steps, a quarter of the error
    assert errors[2] < errors[1] / 3


def test_loss_of_the_best_estimate():
    """Unit data: the best estimate x / (1 + s^2) leaves the output's error at s^2 / (1 + s^2)."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(256, 64, generator=generator)
    process = EDM(mean=0.0, std=1e-6)

    def estimate(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noisy / (1 + sigma[:, None] ** 2)

    loss, logs = denoising_loss(process, estimate, latents, generator)
    assert abs(loss - 2 * 0.5) < 0.02  # weight 2, error 1/2 at sigma 1
    assert logs == {}  # nothing at high noise


def test_loss_logs_high_noise_apart():
    process = EDM(mean=3.0, std=1e-6)  # sigma 20
    latents = torch.ones(3, 5)
    loss, logs = denoising_loss(process, lambda noisy, sigma: torch.zeros(3, 5), latents)
    torch.testing.assert_close(loss, torch.tensor(1 + 1 / 20.0855**2), atol=1e-4, rtol=0)
    torch.testing.assert_close(logs["loss_high_noise"], loss)


@pytest.mark.parametrize("process", [SVD, EDMFlow()])
@pytest.mark.parametrize("level", [0.5, 20.0])
def test_a_huber_loss_is_the_square_below_its_constant_and_in_proportion_above(process, level):
    """At every level and in every process alike: it counts errors of the network's output."""
    weight = float(process.weight(torch.tensor([level])))

    def loss(error: float, huber: float | None) -> float:
        latents = torch.full((3, 1, 5), error / weight**0.5)

        def estimate(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return 0 * noisy

        return float(denoising_loss(process, estimate, latents, level=level, huber=huber)[0])

    assert loss(3.0, 4.0) == pytest.approx(8.0, rel=1e-4)  # 2 * 4 * (5 - 4)
    assert loss(0.1, 100.0) == pytest.approx(loss(0.1, None), rel=1e-3)
    assert loss(40.0, 0.1) / loss(20.0, 0.1) == pytest.approx(2.0, rel=1e-2)
    assert loss(40.0, None) / loss(20.0, None) == pytest.approx(4.0)


def test_a_huber_loss_of_two_ways_is_least_at_the_likelier_one():
    """Where the truth is 0 in seven cases of ten and else 1, squares draw their mean, 0.3."""
    latents = torch.cat([torch.zeros(7), torch.ones(3)])[None]
    steps = torch.linspace(0, 1, 101)

    def best(huber: float | None) -> float:
        losses = [
            denoising_loss(SVD, lambda x, s, a=a: 0 * x + a, latents, huber=huber, level=20.0)[0]
            for a in steps
        ]
        return float(steps[int(torch.stack(losses).argmin())])

    assert best(None) == pytest.approx(0.3)
    assert best(0.01) < 0.02


def test_loss_is_repeatable():
    latents = torch.randn(4, 8)
    first, second, other = (
        denoising_loss(SVD, lambda x, s: 0 * x, latents, torch.Generator().manual_seed(seed))[0]
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_one_generator_for_each_sample():
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    batch = randn((3, 2, 4), generators(5, 6, 7), CPU)
    alone = randn((1, 2, 4), generators(6), CPU)
    assert torch.equal(batch[1:2], alone)
    assert torch.equal(alone[0], randn((2, 4), generators(6)[0], CPU))
    with pytest.raises(ValueError, match="one generator for each of 3, got 2"):
        randn((3, 2), generators(1, 2), CPU)


@pytest.mark.gpu
def test_a_cpu_generator_serves_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device, latents = torch.device("cuda"), torch.randn(2, 4)
    losses = [
        denoising_loss(
            SVD, lambda x, s: 0 * x, latents.to(where), torch.Generator().manual_seed(0)
        )[0].item()
        for where in (CPU, device)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# Every process ------------------------------------------------------------------------------------


def even(steps: int) -> torch.Tensor:
    return torch.linspace(1, 0, steps + 1)


EDMS = [EDM(), EDM(sigma_max=80.0, sigma_data=0.5, out_sign=1.0)]
FLOWS = [EDMFlow(), FlowMatching(even), FlowMatching(even, shift=3.0, time_scale=1000.0)]
every_process = pytest.mark.parametrize("process", [*EDMS, *FLOWS], ids=lambda p: type(p).__name__)
LEVELS = torch.tensor([0.02, 0.3, 0.7, 0.98])


def true_output(process, clean, noise, sigma):
    """What a network that knows the answer says.

    EDM: F = (s x / d - d n) / sqrt(s^2 + d^2), by solving Karras et al.'s equation 7 for F; with
    d = 1 and the other sign that is v-prediction. Flows: the velocity.
    """
    if not isinstance(process, EDM) or isinstance(process, EDMFlow):
        return noise - clean
    s, d = sigma.reshape(-1, *[1] * (clean.ndim - 1)), process.sigma_data
    return process.out_sign * (s / d * clean - d * noise) / (s**2 + d**2).sqrt()


@every_process
def test_the_true_output_means_the_clean_latents(process):
    clean, noise = torch.randn(4, 3, 2, 5), torch.randn(4, 3, 2, 5)
    noisy = process.add(clean, noise, LEVELS)
    found = process.denoised(true_output(process, clean, noise, LEVELS), noisy, LEVELS)
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=1e-5)
    assert (noisy - clean).abs().max() > 0.5


@every_process
def test_the_weight_counts_the_output_s_error_once(process):
    """1 / (d clean / d output)^2, by automatic differentiation."""
    output = torch.randn(4, dtype=torch.float64, requires_grad=True)
    sigma = LEVELS.double()
    process.denoised(output, torch.randn(4, dtype=torch.float64), sigma).sum().backward()
    torch.testing.assert_close(process.weight(sigma), 1 / output.grad**2)


@every_process
def test_slopes_of_the_flow(process):
    """(noisy - clean) / sigma does not depend on sigma: noise for EDM, velocity for flows."""
    clean, noise = torch.randn(4, 6), torch.randn(4, 6)
    slope = (process.add(clean, noise, LEVELS) - clean) / LEVELS[:, None]
    expected = noise - clean if isinstance(process, FlowMatching) else noise
    torch.testing.assert_close(slope, expected, atol=2e-4, rtol=1e-4)


@every_process
def test_euler_with_a_network_that_knows_the_answer(process):
    """On the way it passes the point's noisy versions; at the end it is the point."""
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)

    def denoise(noisy, sigma):
        slope = (noisy - clean) / sigma[:, None, None]
        seen = slope + clean if isinstance(process, FlowMatching) else slope
        return process.denoised(true_output(process, clean, seen, sigma), noisy, sigma)

    levels = torch.tensor([0.9, 0.6, 0.25])
    start = process.add(clean, noise, levels[:1].expand(2))
    passed = process.add(clean, noise, levels[-1:].expand(2))
    torch.testing.assert_close(euler(denoise, start, levels), passed, atol=1e-4, rtol=0)
    sigmas = process.sigmas(5)
    end = euler(denoise, process.initial(noise, float(sigmas[0])), sigmas)
    torch.testing.assert_close(end, clean, atol=1e-4, rtol=0)


@every_process
def test_the_network_sees_unit_power(process):
    """Data of deviation sigma_data; flows mix two unit powers, their power is in [1/2, 1]."""
    deviation = getattr(process, "sigma_data", 1.0)
    data, noise = deviation * torch.randn(4, 40_000), torch.randn(4, 40_000)
    power = process.scale_input(process.add(data, noise, LEVELS), LEVELS).square().mean(1)
    t = process.time(LEVELS) / getattr(process, "time_scale", 1.0)
    expected = torch.ones(4) if process in EDMS else t**2 + (1 - t) ** 2
    torch.testing.assert_close(power, expected, atol=0.03, rtol=0)


def test_edm_flow_is_flow_matching_in_other_variables():
    """noisy / (1 + sigma) at t = sigma / (1 + sigma); the whole sampler, step by step."""
    written, plain = EDMFlow(), FlowMatching(even)
    clean, noise, output = torch.randn(3, 4, 6).unbind(0)
    sigma = torch.tensor([0.01, 0.5, 4.0, 80.0])
    t = sigma / (1 + sigma)
    noisy, same = written.add(clean, noise, sigma), plain.add(clean, noise, t)
    torch.testing.assert_close(written.time(sigma), plain.time(t))
    torch.testing.assert_close(written.scale_input(noisy, sigma), plain.scale_input(same, t))
    torch.testing.assert_close(
        written.denoised(output, noisy, sigma), plain.denoised(output, same, t), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(written.weight(sigma), plain.weight(t))

    def sample(process, start, levels):
        def denoise(noisy, sigma):
            seen = process.scale_input(noisy, sigma) + process.time(sigma)[:, None]
            return process.denoised((3 * seen).sin(), noisy, sigma)

        return euler(denoise, start, levels)

    levels = torch.tensor([80.0, 6.0, 1.0, 0.2, 0.0])
    found = sample(written, 81 * noise, levels)
    expected = sample(plain, noise, levels / (1 + levels))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (expected - noise).std() > 0.3


@pytest.mark.parametrize(("mean", "shift"), [(0.0, 1.0), (0.0, 5.0), (-0.8, 3.0)])
def test_training_times_are_logit_normal_and_shifted(mean, shift):
    """The shift is monotonous, so it maps the median; a shifted logit is the logit + ln shift."""
    process = FlowMatching(even, shift, mean=mean, std=0.7)
    drawn = process.draw(50_000, CPU, torch.Generator().manual_seed(0))
    median = torch.tensor(mean).sigmoid().item()
    median = shift * median / (1 + (shift - 1) * median)
    assert drawn.median().item() == pytest.approx(median, abs=0.005)
    logits = drawn.logit()
    assert logits.mean().item() == pytest.approx(mean + np.log(shift), abs=0.015)
    assert logits.std().item() == pytest.approx(0.7, abs=0.015)
    assert drawn.min() > 0
    assert drawn.max() < 1


def test_edm_flow_draws_the_same_times():
    drawn = [
        process.draw(1000, CPU, torch.Generator().manual_seed(0))
        for process in (EDMFlow(mean=0.4, std=1.2), FlowMatching(even, mean=0.4, std=1.2))
    ]
    torch.testing.assert_close(EDMFlow().time(drawn[0]), drawn[1])


@pytest.mark.parametrize("given", [0, 2])
@every_process
def test_frames_that_are_given_do_not_count(process, given):
    """An error of c in the frames 0 and 1 and of e in the three others, weighted."""
    latents, wrong = torch.randn(4, 5, 3), torch.tensor([0.7, 0.7, 0.2, 0.2, 0.2])[:, None]
    sigma = process.draw(4, CPU, torch.Generator().manual_seed(2))
    loss, _ = denoising_loss(
        process, lambda x, s: latents + wrong, latents, torch.Generator().manual_seed(2), given
    )
    squared = 0.2**2 if given else (2 * 0.7**2 + 3 * 0.2**2) / 5
    torch.testing.assert_close(loss, process.weight(sigma).mean() * squared, rtol=1e-4, atol=0)


def test_schedules_are_used():
    assert torch.equal(FlowMatching(even).sigmas(4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    assert torch.equal(EDMFlow(schedule=even).sigmas(2), torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(EDMFlow().sigmas(7), EDM(sigma_max=80.0).sigmas(7))
    with pytest.raises(ValueError, match="at least 1 sampling step, got 0"):
        FlowMatching(even).sigmas(0)
