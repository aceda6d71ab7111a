"""The training loop: resumes bit for bit from its run folder, runs in one process or under torchrun."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import FrameType

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from streamhead.baselines.trainees import build_trainee
from streamhead.errors import CheckpointError
from streamhead.face.align import mean_face
from streamhead.model.checkpoint import Header, load_network, save_network
from streamhead.model.families import build_network
from streamhead.model.network import Network, TalkingHeadNetwork
from streamhead.stream.drive import DriveMeter
from streamhead.training.batches import BatchSource, Clip, read_clips
from streamhead.training.config import OptimiserConfig, TrainingConfig
from streamhead.training.log import Log
from streamhead.training.run_folder import Ema, RunFolder
from streamhead.training.validate import draw_clip, save_strip, score

__all__ = ["export", "natural_opening", "train"]

CHECKED_CLIPS = 8
KNOWN_CLIPS = 3


def _optimiser(parameters: Iterator[nn.Parameter], config: OptimiserConfig) -> Optimizer:
    # No coupled weight decay: the audio net's gradients come through the small KL term alone and would drown in it.
    if config.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=config.rate, alpha=0.9)
    return torch.optim.Adam(parameters, lr=config.rate, betas=(0.9, 0.99))


def _rate(config: OptimiserConfig, step: int) -> float:
    return config.rate * min(1.0, (step + 1) / config.warm_up) / float(np.sqrt(1.0 + step / config.half_life))


@contextmanager
def _stop_asked() -> Iterator[list[bool]]:
    """A list that becomes non-empty at SIGINT or SIGTERM, so that a run ends between two steps."""
    asked: list[bool] = []

    def ask(_signal: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    previous = {sig: signal.signal(sig, ask) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler)


def _header(config: TrainingConfig, step: int) -> Header:
    return Header(
        network=config.network.model_copy(update={"geometry_head": False}),
        mean_face=tuple((float(x), float(y)) for x, y in mean_face()),
        steps=step,
        data="GRID audio-visual sentence corpus (Cooke, Barker, Cunningham, Shao 2006), Zenodo record 3625687",
        licence="CC BY 4.0 attribution for the data; weights Apache-2.0",
    )


def export(config: TrainingConfig, folder: RunFolder, path: Path) -> None:
    """Write the averaged inference networks of a run as a checkpoint.

    Raises:
        CheckpointError: the folder has no run, or one of another network.
    """
    if not folder.state.is_file():
        raise CheckpointError(
            f"no run in {folder.path}; train first with `streamhead train CONFIG --out {folder.path}`"
        )
    model = build_trainee(config.network, config.loss)
    ema = Ema(model.network, config.optimiser.ema)
    step = folder.load(model, ema, _optimiser(model.parameters(), config.optimiser))
    header = _header(config, step)
    network = _averaged(config, ema, torch.device("cpu"))
    if config.network.backbone == "warp" and isinstance(network, TalkingHeadNetwork):
        header = header.model_copy(update={"natural_opening": natural_opening(network, config)})
    save_network(path, ema.values, header)


@torch.inference_mode()
def natural_opening(network: TalkingHeadNetwork, config: TrainingConfig) -> float:
    """How far faces the network knows open their mouths: the median over a few clips of each training talker.

    Args:
        network: at whose drawings the mouth gauge looks.
        config: of the run, which names the clips.

    Returns:
        Standard deviation of the inner lips' opening, eye distances; for the header of whatever draws so.
    """
    source, meter, openings = BatchSource(config), DriveMeter(network), []
    for clips in source.by_talker.values():
        for clip in clips[:KNOWN_CLIPS]:
            square = torch.from_numpy(np.array(clip.frames[0])).permute(2, 0, 1)[None].float() / 255.0
            openings.append(meter.opening(network.encode_reference(square)))
    return round(float(np.median(openings)), 4)


def _check(network: Network, clips: list[Clip], log: Log, strip: Path) -> None:
    for number, clip in enumerate(clips):
        other = next((c for c in clips[number + 1 :] + clips[:number] if c.talker == clip.talker), None)
        real, drawn = np.asarray(clip.frames), draw_clip(network, clip)
        whole, mouth = score(real, drawn)
        log.add("val psnr", whole)
        log.add("val mouth psnr", mouth)
        log.add("val mouth psnr still", score(real, np.broadcast_to(real[:1], real.shape))[1])
        if other is not None:
            log.add("val mouth psnr other audio", score(real, draw_clip(network, clip, other))[1])
        if number < 2:
            save_strip(strip.with_name(f"{strip.stem}-{clip.talker}-{number}.png"), real, drawn)


def train(
    config: TrainingConfig, folder: RunFolder, *, init: Path | None = None, console: Console | None = None
) -> int:
    """Train until ``config.steps`` or ``config.minutes`` or until asked to stop; resumes a run the folder holds.

    Args:
        config: the run.
        folder: where its state lives.
        init: weights to start from when the folder holds no run.
        console: where the progress bar is drawn.

    Returns:
        The number of steps done in all.

    Raises:
        DataError: the prepared data cannot be used.
        CheckpointError: the folder or ``init`` is of another network.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    torch.manual_seed(config.seed)
    source = BatchSource(config, rank=rank, world=world)
    model = build_trainee(config.network, config.loss)
    network = model.network
    model.adopt(source)
    if init is not None and not folder.state.is_file():
        given, header = load_network(init, config.network.preset)
        if header.network != config.network.model_copy(update={"geometry_head": False}):
            raise CheckpointError(
                f"{init} is of other sizes than the config's [network]; mend that, or leave out --init"
            )
        network.load_state_dict(given.state_dict())
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.optimiser.frozen))
    optimiser = _optimiser(model.parameters(), config.optimiser)
    ema = Ema(network, config.optimiser.ema)
    first = folder.load(model, ema, optimiser) if folder.state.is_file() else 0
    # Of the audio nets of the unimodal model, nothing is trained.
    if config.compiled:
        model.compile()  # in place: names of parameters, and so run folders, stay what they are
    wrapped = (
        DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=config.network.deaf)
        if world > 1
        else model
    )
    val = _held_out(config)
    log = Log(folder.path / "log.csv", folder.path / "events") if rank == 0 else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = first
    began = perf_counter() - folder.seconds
    limit = float("inf") if config.minutes is None else 60.0 * config.minutes
    last = first if _agree(perf_counter() - began >= limit, world) else config.steps
    with _stop_asked() as stop, Progress(*columns, console=console, disable=rank != 0) as bar:
        task = bar.add_task("training", total=config.steps, completed=first)
        for step, batch in source.stream(first, last):
            model.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                terms = wrapped(batch.to(device))
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip)
            for group in optimiser.param_groups:
                group["lr"] = _rate(config.optimiser, step)
            optimiser.step()
            ema.update(network, step)
            done = step + 1
            if log is not None:
                for name, value in terms.items():
                    log.add(name, float(value.detach()))
                log.add("gradient norm", float(norm))
                divergence = f" kl {log.mean('kl'):.2f}" if "kl" in terms else ""
                bar.update(task, completed=done, description=f"loss {log.mean('loss'):.5f}{divergence}")
                if done % config.check_every == 0:
                    paused = perf_counter()
                    averaged = _averaged(config, ema, device)
                    _check(averaged, val, log, folder.path / "strips" / f"{done:06d}.png")
                    began += perf_counter() - paused  # a look at the face is no training
                if done % 50 == 0:
                    log.write(done)
            ending = _agree(bool(stop) or perf_counter() - began >= limit, world)
            if rank == 0 and (done % config.save_every == 0 or ending or done == config.steps):
                folder.save(model, ema, optimiser, done, perf_counter() - began)
            if ending:
                break
    if world > 1:
        dist.destroy_process_group()
    return done


def _held_out(config: TrainingConfig) -> list[Clip]:
    try:
        clips = read_clips(config.data.prepared, "val")
    except Exception:  # a data set without a validation split trains all the same
        return []
    step = max(1, len(clips) // CHECKED_CLIPS)
    return clips[::step][:CHECKED_CLIPS]


def _averaged(config: TrainingConfig, ema: Ema, device: torch.device) -> Network:
    network = build_network(config.network)
    network.load_state_dict(ema.values)
    return network.to(device).eval()


def _agree(stop: bool, world: int) -> bool:
    """Whether any process was asked to stop: all must leave after the same step."""
    if world == 1:
        return stop
    flag = torch.tensor([float(stop)])
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())
