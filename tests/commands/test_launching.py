"""`--launch`: workers make what one process makes, also after one was killed."""

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from egowm.commands import interruptions, launching, workers
from egowm.commands.launching import Launch, chosen_launch, run_workers
from egowm.commands.main import main as egowm
from egowm.commands.scs.main import main as egowm_scs
from egowm.commands.work import plan_rooms
from egowm.scs.masks import write_palette
from egowm.video import write_frames
from tests.scs.conftest import World, draw, moving

CLIPS = 200
# A tracker of one's own, as of a laboratory: it counts what it tracks, waits or kills its process.
TRACKER = """
import os, signal, time
from pathlib import Path
from egowm.scs.trackers.palette import PaletteTracker

ROOT = Path(__file__).parent

class Mine(PaletteTracker):
    calls = 0

    def track(self, frames, masks):
        Mine.calls += 1
        if (ROOT / "die").exists() and Mine.calls == 50:
            (ROOT / "die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (ROOT / "wait").exists():
            (ROOT / f"pid-{os.getpid()}").touch()
            time.sleep(100)
        with (ROOT / "tracked").open("a") as file:
            file.write("x")
        return super().track(frames, masks)
"""


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """SIGINT is heard, which a shell's & and nohup leave ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def drawn(root: Path, count: int) -> SimpleNamespace:
    """Clips of 2 frames that all differ, by the grey level of a corner."""
    truth, made = moving((1, 2, 0), 2), moving((1, 1, 0), 2)
    for k in range(count):
        for folder, labels in (("gt", truth), ("pred", made)):
            frames = draw(labels)[:, :32, :32]
            frames[:, 0, 0] = k
            write_frames(root / folder / f"clip{k:03d}", frames)
        write_palette(root / f"annotations/clip{k:03d}.png", truth[0, :32, :32])
    places = {name: root / name for name in ("pred", "gt", "annotations")}
    return SimpleNamespace(**places)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> SimpleNamespace:
    """200 clips."""
    return drawn(tmp_path_factory.mktemp("many"), CLIPS)


@pytest.fixture
def tracker(tmp_path, monkeypatch) -> Path:
    """The folder of `mine.Mine`, on the path of this process and of its workers."""
    (tmp_path / "mine.py").write_text(TRACKER)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mine", None)
    return tmp_path


def score(world: World | SimpleNamespace, tracker: str, output: Path, *more: str) -> list[str]:
    folders = [str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    return ["score", *folders, "--tracker", tracker, "--json", str(output), *more]


def held(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


@pytest.fixture(scope="module")
def alone(many, tmp_path_factory) -> bytes:
    """The scores of one process."""
    path = tmp_path_factory.mktemp("alone") / "scs.json"
    assert egowm_scs(score(many, "palette", path)) == 0
    return path.read_bytes()


@pytest.mark.long
def test_two_workers_score_200_clips_as_one_process_does(many, alone, tmp_path):
    both = tmp_path / "both.json"
    launched = ["--cache", str(tmp_path / "cache"), "--launch", "local:2"]
    assert egowm_scs(score(many, "palette", both, *launched)) == 0
    assert both.read_bytes() == alone
    assert json.loads(both.read_text())["num_clips"] == CLIPS
    logs = sorted((tmp_path / "cache.launch").iterdir())
    assert [log.name for log in logs] == ["1-of-2.log", "2-of-2.log"]
    for log in logs:
        assert "100 clips are tracked in" in log.read_text()


@pytest.mark.long
def test_a_worker_that_was_killed(many, alone, tracker, tmp_path, capsys):
    """The other one ends its share; the command run again tracks what is missing, and no more."""
    both, cache, whole = tmp_path / "both.json", tmp_path / "cache", 2 * CLIPS
    (tmp_path / "die").touch()
    command = score(many, "mine.Mine", both, "--cache", str(cache), "--launch", "local:2")
    assert egowm_scs(command) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("egowm-scs: ")]
    assert "1 of 2 shards failed: shard " in line
    assert "was ended by SIGKILL, " in line
    assert f"{tmp_path}/cache.launch/" in line
    assert line.endswith("Run the command again: what is done is kept.")
    assert not both.exists()
    before = held(cache)
    assert 0 < len(before) < whole
    assert egowm_scs(command) == 0
    assert both.read_bytes() == alone
    after = held(cache)
    assert {path: after[path] for path in before} == before
    lost = len((tmp_path / "tracked").read_text()) - whole
    assert 0 <= lost <= 1  # of the clip that the killed worker had in hand


@pytest.mark.long
def test_the_log_s_last_line_is_told(many, tmp_path, capsys):
    """A clip that cannot be read: its shard fails, in the worker's own words."""
    world = World(tmp_path / "few", num_clips=4)
    picture = world.gt / "clip1/00002.png"  # whose size can be read
    picture.write_bytes(picture.read_bytes()[:-30])
    command = score(world, "copy", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    assert egowm_scs([*command, "--launch", "local:4"]) == 2
    err = capsys.readouterr().err
    assert "failed: shard " in err
    assert "ended with 2, " in err
    assert "clip1/00002.png" in err


@pytest.mark.long
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_launch_that_is_ended_ends_its_workers(sent, status, many, tracker, tmp_path):
    (tmp_path / "wait").touch()
    command = score(many, "mine.Mine", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    words = [sys.executable, "-m", "egowm.commands.scs.main", *command, "--launch", "local:2"]
    launch = subprocess.Popen(
        words,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    )
    pids = wait_for(partial(pids_in, tmp_path), 2)
    launch.send_signal(sent)
    assert launch.wait(30) == status
    assert not any(map(is_running, pids))


STUBBORN = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(Path(sys.argv[1]) / f"pid-{os.getpid()}").touch()
time.sleep(100)
"""


@pytest.fixture
def stubborn(tracker):
    """A launch of two workers that SIGTERM does not end."""
    (tracker / "stubborn.py").write_text(STUBBORN)
    words = ["stubborn"], [str(tracker)], tracker / "logs"
    return partial(run_workers, Launch("local", 2, {}), *words)


def pids_in(folder: Path) -> list[int]:
    return [int(path.name[4:]) for path in folder.glob("pid-*")]


def test_a_second_ctrl_c_ends_workers_at_once(stubborn, tmp_path, monkeypatch):
    pids = []

    def interrupt() -> None:
        pids.extend(wait_for(partial(pids_in, tmp_path), 2))
        os.kill(os.getpid(), signal.SIGINT)
        stopping.wait()
        os.kill(os.getpid(), signal.SIGINT)

    stopping, stop = threading.Event(), workers.Process.stop
    monkeypatch.setattr(workers.Process, "stop", lambda one: (stop(one), stopping.set()))
    monkeypatch.setattr(workers, "PATIENCE", 100.0)
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        stubborn()
    thread.join()
    assert len(pids) == 2
    assert not any(map(is_running, pids))
    assert signal.getsignal(signal.SIGINT) is before


def test_workers_have_one_time_to_end_not_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    script, found = 'trap "" TERM; echo deaf; sleep 60', []
    for number in range(2):
        log = tmp_path / f"{number}.log"
        part = SimpleNamespace(command=["sh", "-c", script], log=log, number=number)
        found.append(workers.Process(part))
        wait_for(lambda log=log: log.read_text().split(), 1)
    for one in found:
        one.stop()
    found[0].join()
    assert found[0]._until - time.monotonic() <= 0  # it was waited for
    waited = []
    wait = found[1].process.wait
    found[1].process.wait = lambda timeout=None: waited.append(timeout) or wait(timeout)
    found[1].join()
    assert waited == [0.0, None]
    assert [one.process.returncode for one in found] == [-signal.SIGKILL] * 2


@pytest.mark.parametrize("sent", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2])
def test_ctrl_c_while_a_worker_starts(sent, stubborn, monkeypatch):
    """It comes when the process is there and the launch has not noted it yet."""
    started = []

    class Started(workers.Process):
        def __init__(self, part):
            super().__init__(part)
            started.append(self.process.pid)
            for number in sent:
                signal.raise_signal(number)

    monkeypatch.setattr(launching, "Process", Started)
    monkeypatch.setattr(workers, "PATIENCE", 0.05)
    with pytest.raises(KeyboardInterrupt if signal.SIGINT in sent else SystemExit):
        stubborn()
    assert len(started) == 1
    assert not is_running(started[0])


def test_ctrl_c_while_workers_are_ended_by_a_fault(stubborn, monkeypatch):
    """Before a worker is told to end, the signal is kept for afterwards."""
    started, stop = [], workers.Process.stop

    def interrupted(worker):
        started.append(worker.process.pid)
        signal.raise_signal(signal.SIGINT)
        stop(worker)

    monkeypatch.setattr(workers.Process, "stop", interrupted)
    monkeypatch.setattr(workers, "PATIENCE", 0.05)
    monkeypatch.setattr(launching, "_watched", lambda workers, pause: [])
    with pytest.raises(KeyboardInterrupt):
        stubborn()
    assert len(started) == 2
    assert not any(map(is_running, started))


def test_what_cancels_a_job_is_not_interrupted(tmp_path, monkeypatch):
    """A terminal sends Ctrl-C to it, too; another job is ended also where one cannot be."""
    found = []

    class Cancelled:
        job_id = "7"

        def done(self):
            return False

        def cancel(self, check):
            code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(0, []))"
            told = [sys.executable, "-c", code]
            found.append((subprocess.run(told, capture_output=True, text=True).stdout, check))

    jobs = [workers.Job(None, Cancelled()) for _ in range(2)]
    launching._end(jobs)
    assert found == [("True\n", False)] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def wait_for(find, count: int) -> list[int]:
    for _ in range(600):
        if len(found := find()) == count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"expected {count}, got {found}")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("local:0", "expected local:N or slurm:N with N from 1 to 1000, such as local:4"),
        ("local:-1", "expected local:N or slurm:N"),
        ("local", "expected local:N or slurm:N"),
        ("slurm", "expected local:N or slurm:N"),
        ("slurm:1001", "expected local:N or slurm:N"),
        ("kubernetes:4", "expected local:N or slurm:N"),
        ("4", "expected local:N or slurm:N"),
        ("local:2,partition=gpu", "--launch local: takes a number alone, got partition too."),
        ("slurm:2,partition", "a name of account, constraint, cpus_per_task, gpus_per_node"),
        ("slurm:2,queue=gpu", "got 'queue=gpu'"),
        ("slurm:2", "--launch slurm: found no sbatch: run it where jobs are submitted."),
    ],
)
def test_a_mistyped_launch_is_one_sentence(given, words, capsys, monkeypatch):
    monkeypatch.setattr(launching, "which", lambda program: None)
    for main, command in (
        (egowm_scs, ["score", "a", "b", "--tracker", "copy", "--cache", "c"]),
        (egowm, ["eval", "-c", "recipes/rooms_svd.yaml", "--model", "m", "--output", "o"]),
        (egowm, ["plan", "--output", "o", "--cache", "c"]),
        (egowm, ["data", "cache", "-c", "recipes/rooms_svd.yaml"]),
    ):
        more = ["--cache", "c"] if command[0] == "eval" else []
        assert main([*command, *more, "--launch", given]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_a_mistake_is_answered_before_torch_is_loaded(tmp_path):
    """In a fresh process, of both families of commands."""
    for module, words in (
        ("egowm.commands.scs.main", ["score", "a", "b", "--tracker", "sam2", "--cache", "c"]),
        ("egowm.commands.main", ["plan", "--output", "o", "--cache", "c"]),
    ):
        told = [*words, "--launch", "local:0"]
        code = f"import sys; from {module} import main; status = main({told!r})\n"
        code += "assert status == 2 and 'torch' not in sys.modules, status"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--launch: expected local:N" in done.stderr


def test_what_goes_with_a_launch(capsys, tmp_path):
    base = ["score", "a", "b", "--tracker", "copy", "--launch", "local:2"]
    assert egowm_scs(base) == 2
    assert "--launch: give --cache DIR" in capsys.readouterr().err
    assert egowm_scs([*base, "--cache", "c", "--shard", "1/2"]) == 2
    assert "Expected --launch or --shard, got both" in capsys.readouterr().err
    assert egowm(["plan", "--output", "o", "--shard", "1/2"]) == 2
    assert "--shard and --launch fill a cache: give --cache DIR." in capsys.readouterr().err
    both = ["--policy", "p", "--model", "m", "--cache", "c"]
    assert egowm(["plan", "--output", "o", *both]) == 2
    assert "draws from one generator for all rooms" in capsys.readouterr().err
    assert chosen_launch(argparse.Namespace(launch="", shard="1/2", cache=None)) is None
    world = World(tmp_path)
    masks = ["score", str(world.gt), str(world.gt), "--tracker", "masks", "--cache", str(tmp_path)]
    (tmp_path / "cache").mkdir()
    masks[-1] = str(tmp_path / "cache")
    assert egowm_scs([*masks, "--launch", "local:2"]) == 2
    assert "'masks' reads masks from disk: nothing to share out" in capsys.readouterr().err


def refused(main, command: list[str], words: str, capsys, monkeypatch, tmp_path: Path) -> None:
    """In one line, before any worker starts or a folder is made for its log."""
    monkeypatch.setattr(launching, "run_workers", None)
    monkeypatch.setattr(launching, "_started", None)
    assert main([*command, "--launch", "local:2"]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("egowm")]
    assert len(told) == 1
    assert words in told[0]
    assert not list(tmp_path.glob("*.launch"))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--annotations", "nowhere"], "nowhere"),
        (["--first", "nowhere"], "nowhere"),
        (["--ceiling_codec", "nowhere"], "nowhere"),
        (["--reanchor", "nowhere"], "nowhere"),
        (["--trajectories", "clips.json"], "1 clip has no trajectory: clip1."),
        (["--tracker", "nothing"], "nothing"),
    ],
)
def test_a_scoring_is_checked_before_workers_start(option, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.json").write_text('{"clip0": "a"}')
    world = World(tmp_path / "w", num_clips=2)
    command = score(world, "copy", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    refused(egowm_scs, [*command, *option], words, capsys, monkeypatch, tmp_path)


def test_clips_are_compared_before_workers_start(capsys, monkeypatch, tmp_path):
    world = World(tmp_path / "w", num_clips=2)
    (world.pred / "clip1/00002.png").unlink()
    command = score(world, "copy", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    refused(egowm_scs, command, "clip1 has ", capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--annotations", "nowhere"], "nowhere/"),
        (["--horizon", "30"], "a window needs 31 frames"),
        (["--seeds", "0"], "Expected at least 1 seed, got 0."),
        (["--steps", "0"], "Expected at least 1 sampling step, got 0."),
        (["--clips", "0"], "Expected at least 1 clip to evaluate, got 0."),
    ],
)
def test_an_evaluation_is_checked_before_workers_start(
    option, words, obedient, recipe, capsys, monkeypatch, tmp_path
):
    obedient.save_pretrained(tmp_path / "model")
    words_of = ["eval", "--model", str(tmp_path / "model"), "-c", str(recipe)]
    folders = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")]
    command = [*words_of, *folders, "--horizon", "2", *option]
    refused(egowm, command, words, capsys, monkeypatch, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--model.backbone.pretrained", "./none"], "./none"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--batch_size", "0"], "expected a batch_size of at least 1, got 0"),
    ],
)
def test_a_cache_is_checked_before_workers_start(
    option, words, recipe, capsys, monkeypatch, tmp_path
):
    frames = tmp_path / "file"
    frames.write_text("no folder")
    option = [str(frames / "below") if word == "nowhere" else word for word in option]
    words = str(frames) if words == "nowhere" else words
    command = ["data", "cache", "-c", str(recipe), "--output", str(tmp_path / "latents"), *option]
    refused(egowm, command, words, capsys, monkeypatch, tmp_path)


def test_another_s_cache_is_seen_before_workers_start(recipe, capsys, monkeypatch, tmp_path):
    command = ["data", "cache", "-c", str(recipe), "--output", str(tmp_path / "latents")]
    assert egowm(command) == 0
    other = [*command, "--dtype", "float32"]
    refused(egowm, other, "latents holds another cache", capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("option", [["--model", "./none"], ["--encoder", "./none"]])
def test_plans_are_checked_before_workers_start(option, capsys, monkeypatch, tmp_path):
    folders = ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    refused(egowm, ["plan", *folders, *option], "none", capsys, monkeypatch, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_worker_s_command():
    """What overrides stands last, and before a bare `--`."""
    part = workers.Part(1, 4, ["egowm.commands.main", "plan"], ["--a", "--", "x"], Path("logs"))
    assert part.command[1:] == [
        *("-m", "egowm.commands.main", "plan", "--a"),
        *("--launch", "", "--shard", "2/4", "--", "x"),
    ]
    assert part.log == Path("logs/2-of-4.log").absolute()
    assert part.last_line() == ""


def test_gpus_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    found = [workers.beside_others(k)["CUDA_VISIBLE_DEVICES"] for k in range(3)]
    assert found == ["4", "6", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert workers.beside_others(1) == {"OMP_WAIT_POLICY": "passive"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(workers, "glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1"])
    assert workers.beside_others(3)["CUDA_VISIBLE_DEVICES"] == "1"


# Slurm -------------------------------------------------------------------------------------------

SBATCH = """#!{python}
# Keeps what is submitted and tells its number; then runs the tasks of the array one by one.
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
if "--run" not in sys.argv:
    open({folder!r} + "/submitted", "w").write(text)
    apart = {{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}}
    subprocess.Popen([__file__, "--run", script], start_new_session=True, **apart)
    print("Submitted batch job 70")
    sys.exit()
array = re.search(r"--array=(\\d+)-(\\d+)", text)
first, last = map(int, array.groups()) if array else (0, 0)
for k in range(first, last + 1):
    told = {{"SLURM_JOB_ID": str(70 + k), "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": str(k),
            "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
            "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}}
    if not array:
        told = {{name: value for name, value in told.items() if "ARRAY" not in name}}
    subprocess.run(["bash", script], env=os.environ | told, stdout=subprocess.DEVNULL)
    with open({folder!r} + "/states", "a") as states:
        states.write(f"70{{'_' + str(k) if array else ''}}|COMPLETED|here\\n")
"""
SRUN = """#!{python}
# Runs what follows its options, with the output where they say.
import os, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    option = words.pop(0)
    if option in ("--output", "--error"):
        words.pop(0)
sys.exit(subprocess.run(words).returncode)
"""
SACCT = """#!{python}
import os
print("JobID|State|NodeList")
if os.path.exists({folder!r} + "/states"):
    print(open({folder!r} + "/states").read())
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Slurm's programs, as far as submitit calls them; what was submitted lies in `submitted`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        file = folder / name
        file.write_text(text.format(python=sys.executable, folder=str(tmp_path)))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    monkeypatch.setitem(launching.PAUSE, "slurm", 0.05)
    return tmp_path


@pytest.mark.long
@pytest.mark.timeout(400)
def test_slurm_scores_as_one_process_does(cluster, tmp_path):
    """By a stand-in for Slurm, which runs the script that was submitted."""
    world, alone, both = World(tmp_path / "w"), tmp_path / "a.json", tmp_path / "b.json"
    assert egowm_scs(score(world, "palette", alone)) == 0
    launch = "slurm:2,partition=gpu,time=240,gpus_per_node=1"
    cache = str(tmp_path / "cache")
    assert egowm_scs(score(world, "palette", both, "--cache", cache, "--launch", launch)) == 0
    assert both.read_bytes() == alone.read_bytes()
    script = (tmp_path / "submitted").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH ")}
    assert asked >= {
        *("--array=0-1%2", "--job-name=egowm", "--partition=gpu", "--time=240"),
        "--gpus-per-node=1",
    }
    (run,) = [line for line in script if line.startswith("srun ")]
    assert f"{sys.executable} -u -m submitit.core._submit" in run
    logs = tmp_path / "cache.launch"
    assert "2 clips are tracked" in (logs / "1-of-2.log").read_text()
    assert "1 clip is tracked" in (logs / "2-of-2.log").read_text()


@pytest.mark.long
def test_the_time_is_the_partition_s_where_none_is_given(cluster, tmp_path):
    world = World(tmp_path / "w")
    command = score(world, "palette", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    assert egowm_scs([*command, "--launch", "slurm:1"]) == 0
    assert "--time" not in (tmp_path / "submitted").read_text()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_submitit_s_own_executors(tmp_path, monkeypatch):
    """Its local one starts processes, its debug one runs here; a job that fails is told."""
    import submitit

    world = World(tmp_path / "w")
    words = score(world, "palette", tmp_path / "a.json", "--cache", str(tmp_path / "cache"))
    monkeypatch.setitem(launching.PAUSE, "slurm", 0.05)
    program = ["egowm.commands.scs.main"]
    for name, kind in (("local", submitit.LocalExecutor), ("debug", submitit.DebugExecutor)):

        def executor(folder, count, options, kind=kind):
            return kind(folder=folder)

        monkeypatch.setattr(launching, "slurm_executor", executor)
        logs = tmp_path / f"{name}.launch"
        if name == "local":
            run_workers(Launch("slurm", 2, {}), program, words, logs)
            assert "2 clips are tracked" in (logs / "1-of-2.log").read_text()
            continue
        wrong = [word.replace("palette", "palete") for word in words]
        with pytest.raises(
            launching.LaunchError, match=r"2 of 2 shards failed: shard 1/2 failed as"
        ):
            run_workers(Launch("slurm", 2, {}), program, wrong, logs)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions.held(lambda: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["model", "policy", "encoder"])
def test_a_network_that_is_not_there_names_no_result(name):
    """Nor does one of the hub that is not cached: all of them would share their rooms' results."""
    with pytest.raises(FileNotFoundError, match="nobody/nothing is no folder here"):
        plan_rooms._content(name, "nobody/nothing")
