#!/usr/bin/env python3
"""Does a long stream drift or collapse: likeness, sharpness, lips, rest, head and blinks, minute by minute.

    scripts/measure_long_stream.py --work WORK [--minutes 30] [--prepared PREPARED] [--out docs/results]

One seed at temperature 1, heard in two sessions: the bare square, and the default portrait at 640x360. Each minute has
the same sound: the default speech and nine prepared test clips with pauses, or the speech four times. What a minute
gave is kept in WORK with the sessions' snapshots; Ctrl-C stops, the same command goes on. Needs matplotlib and the
extras dlib and train.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from long_stream_report import PANELS, Row, Trend, draw, markdown
from measure_faces import likeness, lip_sharpness, mouth
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.frontend import analyse
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import DataError, StreamheadError
from streamhead.evaluation.landmark_metrics import blinks_per_minute
from streamhead.evaluation.learned_metrics import Identity
from streamhead.evaluation.plan import choose_clips
from streamhead.evaluation.sync import find_landmarks, mouth_opening
from streamhead.evaluation.tables import write_texts
from streamhead.face.align import EYE_DISTANCE, MOUTH, SIZE, similarity, transform_points
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.letterbox import letterbox
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.stream.life import Life, LifeState
from streamhead.stream.session import Session
from streamhead.stream.talking_head import TalkingHead, load
from streamhead.timebase import FPS, HOP, SAMPLE_RATE

VIEW: Final = (640, 360)
SQUARE_EVERY: Final = 5
"""Of so many frames of the bare square one is drawn and looked at; the others move the face on, as late ones do."""
VIEW_EVERY: Final = 2
"""The same for the portrait: a blink has six to nine frames."""
EMBEDDED_EVERY: Final = 5
"""Of so many squares that are drawn, one is embedded."""
QUIET: Final = FPS
"""Frames of silence after which the face is at rest."""


def programme(prepared: Path | None) -> list[NDArray[np.float32]]:
    """Sounds at 16 kHz that are a minute together, of which a quarter at least is pauses."""
    samples, rate = load_audio(default_speech())
    speech = _padded(resample(as_float_mono(samples), rate), 15)
    if prepared is None:
        return [speech] * 4
    clips = [pair.clip for pair in choose_clips(prepared, "test")]
    if len(clips) < 9:
        raise DataError(f"{prepared} has {len(clips)} test clips, nine are needed; leave --prepared out")
    chosen = [clips[i] for i in np.linspace(0, len(clips) - 1, 9).astype(int)]
    return [speech, *(_padded(np.asarray(clip.audio), 5) for clip in chosen)]


def _padded(sound: NDArray[np.float32], seconds: int) -> NDArray[np.float32]:
    out = np.zeros(seconds * SAMPLE_RATE, np.float32)
    sound = sound[: len(out) - 2 * SAMPLE_RATE]
    out[: len(sound)] = sound
    return out


@dataclass(frozen=True, slots=True)
class Seen:
    """A minute of a session: which frames were drawn, their pictures, and since how long there was silence."""

    frames: list[int]
    pictures: list[NDArray[np.uint8]]
    speech: NDArray[np.bool_]

    @property
    def resting(self) -> NDArray[np.bool_]:
        """Which of the pictures show a face that has been silent for a second."""
        last = np.maximum.accumulate(np.where(self.speech, self.frames, self.frames[0] - 1))
        return np.asarray(np.array(self.frames) - last > QUIET)


def watch(session: Session, sound: NDArray[np.float32], every: int) -> Seen:
    """Push a minute in pieces of a second and draw one frame of ``every``."""

    async def drawn() -> list[tuple[int, NDArray[np.uint8], bool]]:
        out = []
        for start in range(0, len(sound), SAMPLE_RATE):
            session.push(sound[start : start + SAMPLE_RATE], SAMPLE_RATE)
            while session.ready >= every:
                frame = await session.step(every - 1)
                assert frame is not None
                out.append((frame.pts // HOP, frame.image, frame.speech))
        return out

    frames, pictures, speech = zip(*asyncio.run(drawn()), strict=True)
    return Seen(list(frames), list(pictures), np.array(speech))


@dataclass
class Judge:
    """Measures minutes against the portrait, and against rest in the first of them."""

    portrait: Portrait
    finder: LandmarkFinder
    identity: Identity
    rest: NDArray[np.float64] | None = None
    widest: int = 0
    """Which picture of the last minute has the mouth open widest."""

    def __post_init__(self) -> None:
        fitted = letterbox(self.portrait.image, VIEW)
        to_frame = np.vstack([fitted.to_frame, (0, 0, 1)])
        self.own = np.vstack([self.portrait.to_canonical, (0, 0, 1)]) @ np.linalg.inv(to_frame)
        points = transform_points(fitted.to_frame, self.portrait.landmarks)
        self.sharpness = lip_sharpness(fitted.frame, points)

    def measure(self, square: Seen, view: Seen) -> Row:
        """A row of the table, but for the minute's number."""
        resting = square.resting
        points = find_landmarks(np.stack(square.pictures), self.finder)
        opening = mouth_opening(points)
        self.widest = int(opening.argmax())
        mean = np.mean([square.pictures[i] for i in np.flatnonzero(resting)], axis=0, dtype=np.float64)
        if self.rest is None:
            self.rest = mean
        seen = self._find(view)
        drawn = np.flatnonzero(np.isfinite(seen[:, 0, 0]))
        sharp = [lip_sharpness(view.pictures[i], seen[i]) for i in drawn if view.speech[i]]
        poses = np.array([self._pose(seen[i]) for i in drawn])
        # As the evaluation reads a clip: a row a frame, those that were not drawn bridged.
        dense = np.full((view.frames[-1] - view.frames[0] + 1, *seen.shape[1:]), np.nan, np.float32)
        dense[np.array(view.frames) - view.frames[0]] = seen
        return {
            "identity": likeness(self.identity, self.portrait.square(), square.pictures[::EMBEDDED_EVERY]),
            "sharpness": float(np.median(sharp)) / self.sharpness,
            "spread": float(opening[square.speech].std()),
            "rest": float(np.nanmean([mouth(points[i])[0] for i in np.flatnonzero(resting)])) * EYE_DISTANCE,
            "moved": float(np.abs(mean - self.rest)[MOUTH].mean()),
            **dict(zip(("x", "y", "roll"), poses.mean(0).tolist(), strict=True)),
            "blinks": round(blinks_per_minute(dense) * len(dense) / (60 * FPS)),
            "faceless": int(np.isnan(points[:, 0, 0]).sum()) + len(seen) - len(drawn),
        }

    def _find(self, view: Seen) -> NDArray[np.float32]:
        points = np.full((len(view.pictures), 478, 2), np.nan, np.float32)
        for i, picture in enumerate(view.pictures):
            if faces := self.finder.find(picture):
                points[i] = faces[0]
        return points

    def _pose(self, points: NDArray[np.float32]) -> tuple[float, float, float]:
        """How the head is held against the portrait: shift of the square's middle in its pixels, roll in degrees."""
        moved = self.own @ np.linalg.inv(np.vstack([similarity(points), (0, 0, 1)]))
        x, y = moved[:2] @ (SIZE / 2, SIZE / 2, 1) - SIZE / 2
        return float(x), float(y), float(np.degrees(np.arctan2(moved[1, 0], moved[0, 0])))


class Work:
    """The minutes that are done: a row each, the last one's snapshots, and a picture of talk and rest."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / "facts.json"
        if known.is_file() and json.loads(known.read_text("utf-8")) != facts:
            raise DataError(f"{folder} holds another stream; give another --work folder, or empty it")
        known.write_text(json.dumps(facts, indent=1), "utf-8")
        self.alone = folder / "alone.json"

    def rows(self) -> list[Row]:
        rows = [json.loads(path.read_text("utf-8")) for path in sorted(self.folder.glob("[0-9]*.json"))]
        return [{"minute": number, **row} for number, row in enumerate(rows, 1)]

    def picture(self, minute: int) -> NDArray[np.uint8]:
        return np.asarray(Image.open(self.folder / f"{minute:03}.png"))

    def restore(self, head: TalkingHead, minute: int, judge: Judge) -> tuple[Session, Session]:
        judge.rest = np.load(self.folder / "rest.npy")
        square, view = (head.restore((self.folder / f"{minute:03}.{name}").read_bytes()) for name in ("square", "view"))
        return square, view

    def keep(self, minute: int, row: Row, sessions: tuple[Session, Session], judge: Judge, seen: Seen) -> None:
        assert judge.rest is not None
        np.save(self.folder / "rest.npy", judge.rest)
        pair = [seen.pictures[judge.widest], seen.pictures[int(np.flatnonzero(seen.resting)[-1])]]
        Image.fromarray(np.concatenate(pair)).save(self.folder / f"{minute:03}.png")
        for name, session in zip(("square", "view"), sessions, strict=True):
            (self.folder / f"{minute:03}.{name}").write_bytes(session.snapshot())
            (self.folder / f"{minute - 1:03}.{name}").unlink(missing_ok=True)
        fresh = self.folder / f"{minute:03}.new"
        fresh.write_text(json.dumps(row), "utf-8")
        os.replace(fresh, self.folder / f"{minute:03}.json")  # from here on the minute is done


def spread_alone(head: TalkingHead, sounds: list[NDArray[np.float32]], seed: int, finder: LandmarkFinder) -> float:
    """The opening's spread in speech where each of the sounds is all that its session hears."""
    seen = [watch(head.session(seed, view="face"), sound, SQUARE_EVERY) for sound in sounds]
    opening = mouth_opening(find_landmarks(np.concatenate([one.pictures for one in seen]), finder))
    return float(opening[np.concatenate([one.speech for one in seen])].std())


def stream(head: TalkingHead, sounds: list[NDArray[np.float32]], minutes: int, seed: int, work: Work) -> Iterator[int]:
    """Run what is not done yet; gives the number of each minute that is."""
    done, sound = len(work.rows()), np.concatenate(sounds)
    with LandmarkFinder(1) as finder:
        if not work.alone.is_file():
            write_texts(work.folder, {work.alone.name: json.dumps(spread_alone(head, sounds, seed, finder))})
        judge = Judge(head.portrait, finder, Identity())
        if done:
            sessions = work.restore(head, done, judge)
        else:
            sessions = head.session(seed, view="face"), head.session(seed, size=VIEW)
        yield done
        for minute in range(done + 1, minutes + 1):
            square, view = watch(sessions[0], sound, SQUARE_EVERY), watch(sessions[1], sound, VIEW_EVERY)
            work.keep(minute, judge.measure(square, view), sessions, judge, square)
            yield minute


def living(sound: NDArray[np.float32], minutes: int, seed: int) -> list[int]:
    """Blinks that the living head draws in each minute, whatever the model does."""
    life, state, counts = Life(seed), LifeState(), []
    speech = analyse(sound)
    for minute in range(minutes):
        count = 0
        for number, spoken in enumerate(speech, minute * len(speech)):
            state = life.step(number, state, bool(spoken))
            count += state.blink == 0
        counts.append(count)
    return counts


def main(
    work: Annotated[Path, typer.Option(help="Folder of the minutes that are done.")],
    minutes: Annotated[int, typer.Option(min=3, help="Length of the stream.")] = 30,
    prepared: Annotated[Path | None, typer.Option(help="Prepared GRID: the sound of nine test clips as well.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for long-stream.md and .png.")] = Path("docs/results"),
    weights: Annotated[Path | None, typer.Option(help="A checkpoint instead of the shipped call.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the take.")] = 1,
) -> None:
    """Measure a long stream, as fast as the machine allows."""
    torch.set_num_threads(1)
    try:
        head = load(device="cpu", weights=weights or shipped_weights("call"))
        sounds = programme(prepared)
        words = "the default speech and nine test clips of GRID" if prepared else "the default speech four times"
        facts = {"weights": head.engine.header.sha256, "seed": seed, "sound": f"{words}, with pauses"}
        kept = Work(work, facts)
        columns = (TextColumn("minutes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task("", total=minutes)
            for done in stream(head, sounds, minutes, seed, kept):
                bar.update(task, completed=done)
        own = living(np.concatenate(sounds), minutes, seed)
        rows = [{**row, "beyond": row["blinks"] - drawn} for row, drawn in zip(kept.rows(), own, strict=False)]
        facts |= {"alone": json.loads(kept.alone.read_text("utf-8")), "square": SQUARE_EVERY, "view": VIEW_EVERY}
        trends = {key: Trend.of(rows, key) for key in PANELS}
        given = " ".join(["scripts/measure_long_stream.py --work WORK", f"--minutes {minutes}"])
        given += " --prepared PREPARED" if prepared else ""
        [path] = write_texts(out, {"long-stream.md": markdown(rows, trends, facts, given)})
        draw(rows, trends, kept.picture, out / "long-stream.png")
    except StreamheadError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"stopped; the minutes done are in {work}, the same command goes on", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"written: {path}, {out / 'long-stream.png'}", err=True)


if __name__ == "__main__":
    typer.run(main)
