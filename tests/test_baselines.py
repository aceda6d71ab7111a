"""The systems the paper is compared with: each trains, is saved, streams, and is what its name says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import head
from made_up import RECIPES, make_clips, small_config
from sounds import speech

from streamhead.baselines.landmark_cascade import LIPS, LandmarkCascadeNetwork, mouth_shape
from streamhead.baselines.trainees import build_trainee
from streamhead.errors import DataError
from streamhead.evaluation.generate import generate, head_of
from streamhead.evaluation.plan import Model
from streamhead.face.align import mean_face
from streamhead.model.checkpoint import load_network
from streamhead.model.config import PRESETS, preset
from streamhead.model.families import build_network
from streamhead.stream.engine import Engine
from streamhead.training.batches import BatchSource, read_clips
from streamhead.training.config import read_config
from streamhead.training.loop import export, train
from streamhead.training.run_folder import RunFolder
from streamhead.training.validate import draw_clip

BASELINES = ("frame-independent", "landmark-cascade", "deterministic", "unimodal-vae")
HEARING = tuple(name for name in BASELINES if name != "unimodal-vae")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("prepared"), smooth=True)


@pytest.mark.parametrize("name", BASELINES)
def test_trained_saved_and_drawn_like_any_other(prepared: Path, tmp_path: Path, name: str) -> None:
    config = small_config(prepared, name).model_copy(update={"steps": 2})
    folder, weights = RunFolder(tmp_path / "run"), tmp_path / "w.safetensors"
    assert train(config, folder) == 2
    assert train(config.model_copy(update={"steps": 3}), folder) == 3
    export(config, folder, weights)
    network, header = load_network(weights, name)
    assert header.network.preset == name and header.steps == 3 and Model.of(weights).preset == name
    averaged = {k: v.half().float() for k, v in network.state_dict().items() if v.is_floating_point()}
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in averaged.items())
    clip, other = read_clips(prepared, "val")
    assert draw_clip(network, clip).shape == clip.frames.shape
    engine = Engine(weights, None, "cpu")
    drawn = generate(head_of(engine, clip), clip, other, seed=0, temperature=1.0)
    assert drawn.shape == clip.frames.shape and drawn.dtype == np.uint8
    engine.close()


@pytest.mark.parametrize("name", BASELINES)
def test_the_loss_of_one_batch_falls_and_everything_learns(prepared: Path, name: str) -> None:
    torch.manual_seed(0)
    config = small_config(prepared, name)
    source = BatchSource(config)
    model = build_trainee(config.network, config.loss)
    model.adopt(source)
    batch = source.batch(0)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(10):
        terms = model(batch)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        losses.append(float(terms["loss"].detach()))
    assert losses[-1] < 0.7 * losses[0]
    still = {k.split(".")[1] for k, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    # What is deaf trains no ears; and what a BatchNorm follows needs no bias, so single tensors may be left alone.
    learning = {k.split(".")[1] for k, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    ears = {"audio_encoder", "audio_posterior"} if name == "unimodal-vae" else set()
    assert still - learning == ears


def test_a_frame_knows_no_other() -> None:
    torch.manual_seed(0)
    network = build_network(preset("frame-independent", width=0.125)).eval()
    with torch.no_grad():
        reference = network.encode_reference(torch.rand(1, 3, 128, 128))
        fresh = network.initial_state(reference)
        patch, eps = torch.randn(1, 28, 12), torch.randn(1, 24)
        state = fresh
        for _ in range(3):
            _, _, state = network.step(torch.randn(1, 28, 12), torch.randn(1, 24), 1.0, state)
        after, _, _ = network.step(patch, eps, 1.0, state)
        before, _, _ = network.step(patch, -eps, 0.0, fresh)
        another, _, _ = network.step(patch + 1, eps, 1.0, fresh)
    assert torch.equal(before, after) and not torch.equal(before, another)


@pytest.mark.parametrize("name", HEARING)
def test_seeds_change_nothing_and_sound_does(name: str) -> None:
    def render(seed: int, voice: int) -> np.ndarray:
        frames = head(name).render(speech(0.8, 16000, voice), 16000, seed=seed, temperature=1.0, view="face")
        return np.stack([frame.image for frame in frames])

    assert np.array_equal(render(1, 0), render(2, 0))
    assert not np.array_equal(render(1, 0), render(1, 1))


def test_the_unimodal_model_is_deaf_and_stochastic() -> None:
    def render(seed: int, sound: np.ndarray) -> np.ndarray:
        frames = head("unimodal-vae").render(sound, 16000, seed=seed, temperature=1.0, view="face")
        return np.stack([frame.image for frame in frames])

    voice = speech(0.8, 16000)
    assert np.array_equal(render(1, voice), render(1, np.zeros_like(voice)))
    assert not np.array_equal(render(1, voice), render(2, voice))


def test_the_deterministic_model_has_no_posterior_to_sample() -> None:
    trainee = build_trainee(preset("deterministic", width=0.125), small_config(Path("."), "deterministic").loss)
    assert not any("logvar" in name or "frame_posterior" in name for name, _ in trainee.named_parameters())


def test_mouth_shapes_survive_their_components() -> None:
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(3, 2 * len(LIPS)))
    shapes = (rng.normal(size=(500, 3)) * (4.0, 2.0, 1.0) @ modes + 0.7).astype(np.float32)
    network = build_network(preset("landmark-cascade", width=0.125, z_size=3))
    assert isinstance(network, LandmarkCascadeNetwork)
    network.learn_shapes(shapes)
    components = network.components(torch.from_numpy(shapes))
    assert (network.shape(components) - torch.from_numpy(shapes)).abs().max() < 1e-3
    assert components.std(0).sub(1).abs().max() < 0.01 and components.mean(0).abs().max() < 0.01


def test_a_mouth_shape_forgets_whose_it_is() -> None:
    clip = np.repeat(mean_face()[None], 9, axis=0).copy()
    clip[6:, 17, 1] += 5.0
    shape = mouth_shape(clip)
    assert np.array_equal(shape, mouth_shape(clip + np.float32(3.0)))
    assert not shape[:6].any() and (np.abs(shape[6:]).max(1) == 5.0).all() and (shape[6:] != 0).sum() == 3


def test_the_cascade_covers_only_what_its_mask_says() -> None:
    torch.manual_seed(0)
    network = build_network(preset("landmark-cascade", width=0.125)).eval()
    square = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        reference = network.encode_reference(square)
        code, _, _ = network.step(torch.randn(2, 28, 12), torch.zeros(2, 12), 0.0, network.initial_state(reference))
        update = network.decode(code, reference)
    assert update.mask.shape == (2, 1, 128, 128) and not update.flow.any()
    expected = (1 - update.mask) * square + update.mask * update.rgb
    assert (update.apply(square) - expected).abs().max() < 1e-4
    assert update.mask.min() > 0 and update.mask.max() < 1 and update.mask.std() > 0


def test_landmarks_are_only_right_for_pictures_as_they_are(prepared: Path, tmp_path: Path) -> None:
    config = small_config(prepared, "landmark-cascade", augment_picture=True)
    with pytest.raises(DataError, match="augment_picture = false"):
        train(config, RunFolder(tmp_path))
    assert not RunFolder(tmp_path).state.exists()


def test_the_clock_ends_a_run_and_goes_on_where_it_stopped(prepared: Path, tmp_path: Path) -> None:
    config = small_config(prepared, "frame-independent")
    folder = RunFolder(tmp_path)
    done = train(config.model_copy(update={"minutes": 1e-5}), folder)
    assert done == 1 and folder.seconds > 0
    assert train(config.model_copy(update={"minutes": 1e-5}), folder) == 1
    spent = folder.seconds
    more = spent / 60 + 2 / 60
    assert train(config.model_copy(update={"minutes": more}), folder) > 1
    assert 60 * more <= folder.seconds < 60 * more + 5


@pytest.mark.parametrize("name", [*BASELINES, "paper-thin", "paper", "paper-dcgan"])
def test_every_row_of_the_table_has_the_same_wall_time_and_data(name: str) -> None:
    config, thin = read_config(RECIPES / f"{name}.toml"), read_config(RECIPES / "paper-thin.toml")
    assert config.minutes == thin.minutes and config.data == thin.data and config.optimiser == thin.optimiser
    if name in PRESETS and name != "paper":
        assert config.network == PRESETS[name] and config.network.width == thin.network.width


@pytest.mark.slow
def test_the_script_trains_each_and_names_the_command(prepared: Path, tmp_path: Path) -> None:
    script = RECIPES.parent / "train_baselines"
    command = [
        sys.executable,
        str(script),
        str(prepared),
        "--out",
        str(tmp_path),
        "--minutes",
        "0.01",
        "--threads",
        "1",
    ]
    done = subprocess.run([*command, "--only", "frame-independent"], check=True, capture_output=True, text=True)
    weights = tmp_path / "frame-independent.safetensors"
    assert f"make_table1 {prepared} --runs {tmp_path}" in done.stdout
    assert load_network(weights)[1].network.preset == "frame-independent"
    wrong = subprocess.run([*command, "--only", "nobody"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "nobody" in wrong.stderr
