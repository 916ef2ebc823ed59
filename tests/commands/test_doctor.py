"""`egowm doctor`: one line per check, and a non-zero status when something is wrong."""

import sys
from pathlib import Path

import pytest

from egowm.commands import doctor


@pytest.fixture
def requires(monkeypatch: pytest.MonkeyPatch):
    """Pretends that egowm requires this, and that the given versions are installed."""

    def pretend(requirements: list[str], installed: dict[str, str]) -> list[doctor.Line]:
        monkeypatch.setattr(doctor.metadata, "requires", lambda name: requirements)
        monkeypatch.setattr(doctor, "_version", installed.get)
        return list(doctor.packages())

    return pretend


def script(folder: Path, text: str) -> Path:
    path = folder / "lightning"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def test_this_installation_has_no_problem_in_its_packages():
    lines = [*doctor.python(), *doctor.packages(), *doctor.opencv(), *doctor.disk()]
    assert [line.text for line in lines if line.level == "problem"] == []
    assert any(line.text.startswith("torchmetrics ") for line in lines)
    assert not any(line.text.startswith(("pytest", "sam2")) for line in lines)


@pytest.mark.parametrize(
    ("requirement", "installed", "level", "text"),
    [
        ("torch>=2.10", "2.9.1+cpu", "problem", "torch 2.9.1+cpu is older than 2.10"),
        ("torch>=2.10", "2.10.0+cpu", "ok", "torch 2.10.0+cpu"),
        ("torch>=2.10", None, "problem", "torch is missing: pip install 'torch>=2.10'"),
        ("decord>=0.6; sys_platform == 'linux'", None, "note", "decord is not installed"),
        ("jsonargparse[signatures]>=4.4", "4.53.0", "ok", "jsonargparse 4.53.0"),
    ],
)
def test_packages_against_their_lower_bounds(requires, requirement, installed, level, text):
    name = doctor._parse(requirement)[0]
    (line,) = requires([requirement], {name: installed} if installed else {})
    assert line.level == level
    assert line.text.startswith(text)


def test_packages_of_extras_are_not_required(requires):
    assert requires(['sam2>=1.1; extra == "sam2"'], {}) == []


def test_a_second_opencv_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_version", {"opencv-python": "5.0.0"}.get)
    (line,) = doctor.opencv()
    assert line.level == "problem"
    assert "pip uninstall opencv-python" in line.text


def test_torch_that_does_not_import_is_reported(monkeypatch):
    monkeypatch.setattr(doctor, "TORCH_PROBE", "raise RuntimeError('operator nms does not exist')")
    (line,) = doctor.torch_family()
    assert line.level == "problem"
    assert "operator nms does not exist" in line.text
    assert "from one source" in line.text


def test_torch_and_devices(monkeypatch):
    answer = '{"torch": "2.15.0", "torchvision": "0.29.2", "gpus": ["H200"], "mps": false}'
    monkeypatch.setattr(doctor, "TORCH_PROBE", f"print('{answer}')")
    family, device = doctor.torch_family()
    assert family == ("ok", "torch 2.15.0 and torchvision 0.29.2 work together")
    assert device == ("ok", "device: 1 x H200")


def test_who_owns_the_lightning_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ours = script(tmp_path, "from egowm.commands.main import main")
    assert list(doctor.command()) == [("ok", f"`lightning` is egowm's ({ours})")]
    script(tmp_path, "from lightning_sdk.cli import main")
    (line,) = doctor.command()
    assert line.level == "note"
    assert "`lightning` belongs to another package" in line.text
    assert line.text.endswith("`egowm fit` is the same")


def test_no_lightning_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (line,) = doctor.command()
    assert line == ("note", f"no command `lightning` in {tmp_path}; `egowm fit` is the same")


def test_hub_cache(tmp_path, monkeypatch):
    (tmp_path / "models--a--b").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert list(doctor.hub()) == [("ok", f"hub cache {tmp_path}: 1 model, offline")]


@pytest.mark.parametrize(("free", "level"), [(0.5e9, "problem"), (5e9, "note"), (50e9, "ok")])
def test_free_disk(free, level, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    (line,) = doctor.disk()
    assert line.level == level


def test_status_counts_problems(monkeypatch, capsys):
    for name in ("packages", "opencv", "torch_family", "optional", "command", "hub", "disk"):
        monkeypatch.setattr(doctor, name, lambda: [doctor.Line("note", "nothing")])
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "disk", lambda: [doctor.Line("problem", "full")])
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.endswith("problem  full\n")
