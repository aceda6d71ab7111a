"""Systems by name, videos of other programs, and the figures that compare them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_clips import FRAMES, draw_face, prepared, weights  # noqa: F401
from PIL import Image
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.errors import CheckpointError, DataError
from streamhead.evaluation import diversity
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.figures import differences, moments
from streamhead.evaluation.plan import Model, Plan, choose_clips, read_system
from streamhead.evaluation.protocols import STANDARD
from streamhead.evaluation.videos import VideoFolder, reencoded, write_clip
from streamhead.face.align import mean_face
from streamhead.training.batches import Clip


def test_systems_by_name(weights: Path, tmp_path: Path) -> None:  # noqa: F811
    shipped = read_system("call")
    assert isinstance(shipped, Model) and shipped.name == shipped.preset == "call"
    mine = read_system(f"mine={weights}")
    assert isinstance(mine, Model) and mine.name == "mine" and mine.preset == "call"
    for text, error in (
        ("=x", DataError),
        ("a=", DataError),
        (f"a={tmp_path / 'none'}", DataError),
        (f"a={tmp_path}", DataError),
        ("nothing", CheckpointError),
    ):
        with pytest.raises(error):
            read_system(text)
    with pytest.raises(DataError, match="'mine'"):
        Plan((mine, mine))
    with pytest.raises(DataError, match="'still'"):
        Plan((read_system(f"still={weights}"),))


def test_a_folder_of_videos(prepared: Path, tmp_path: Path) -> None:  # noqa: F811
    one, two, other = (pair.clip for pair in choose_clips(prepared, "test"))
    frames = np.asarray(one.frames)
    write_clip(_made(tmp_path / "a" / "one.mp4"), frames, one.audio)
    write_clip(tmp_path / "a_two.mp4", np.concatenate([frames, frames[:3]]), two.audio)
    folder = VideoFolder.of(tmp_path, "other")
    assert folder.check([one, two, other]) == 2
    with pytest.raises(DataError, match=r"b/one\.mp4"):
        folder.check([other])
    with Scorer(Plan((folder,))) as scorer:
        pairs = choose_clips(prepared, "test")
        assert [condition.label for condition in scorer.plan.conditions] == [
            "other",
            "still first frame",
            "ground truth re-encoded",
        ]
        scores, _, real = scorer.score(pairs[0])
        assert scores is not None and scores == real  # it is the very same video
        drawn = folder.read(two, scorer.finder)
        assert drawn is not None and drawn.shape == (FRAMES, 128, 128, 3)  # cut to the clip
        assert folder.read(other, scorer.finder) is None and scorer.score(pairs[2])[0] is None
        # In a larger picture the face is found, and lands where it was in the square.
        scene = np.full((FRAMES, 360, 480, 3), (150, 165, 180), np.uint8)
        scene[:, 60:316, 100:356] = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_CUBIC) for frame in frames]
        for t, picture in enumerate(scene):
            path = _made(tmp_path / "scenes" / "a" / "one" / f"{t:03d}.png")
            Image.fromarray(picture).save(path)
        found = VideoFolder.of(tmp_path / "scenes", "scenes").read(one, scorer.finder)
        assert found is not None and STANDARD.score(frames, found)["ssim"] > 0.9
        short = _made(tmp_path / "short" / "a-one.mp4")
        write_clip(short, frames[:4], one.audio)
        with pytest.raises(DataError, match="4 frames, where the clip has 12"):
            VideoFolder.of(tmp_path / "short", "short").read(one, scorer.finder)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_video_that_lacks_the_last_frames_is_scored_on_what_it_has(prepared: Path, tmp_path: Path) -> None:  # noqa: F811
    pair = choose_clips(prepared, "test")[0]
    write_clip(_made(tmp_path / "a" / "one.mp4"), np.asarray(pair.clip.frames)[:-2], pair.clip.audio)
    with Scorer(Plan((VideoFolder.of(tmp_path, "short"),))) as scorer:
        scores = scorer.score(pair)[0]
    assert scores is not None and scores["correlation"] is not None and scores["correlation"] > 0.9


def test_the_real_clip_through_the_products_file(prepared: Path) -> None:  # noqa: F811
    clip = choose_clips(prepared, "test")[0].clip
    frames = reencoded(clip)
    assert frames.shape == clip.frames.shape
    assert 28 < STANDARD.score(np.asarray(clip.frames), frames)["psnr"] < 60


def test_moments_of_a_word(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((29, 8, 8, 3), np.uint8))
    clip = Clip(tmp_path, "ABOUT", "one", "test", ((0.4, 0.76, "ABOUT"),))
    index = moments(clip, "lrw")
    assert index[0] == 8 and index[-1] == 21 and len(index) == 8
    assert moments(Clip(tmp_path, "ABOUT", "one", "test"), "lrw")[-1] == 28


def test_differences_are_marked_where_they_are() -> None:
    one = np.full((2, 64, 64, 3), 90, np.uint8)
    other = one.copy()
    other[1, 20:30, 40:50] = 130
    apart = differences(one, other)
    assert apart[0].max() == 0.0
    y, x = np.unravel_index(apart[1].argmax(), (64, 64))
    assert 20 <= y < 30 and 40 <= x < 50 and apart[1].max() == pytest.approx(40, abs=4)


def test_what_is_measured_of_takes() -> None:
    rng = np.random.default_rng(0)
    real = np.repeat(draw_face(2.0)[None], 6, axis=0)
    takes = np.repeat(real[None], 3, axis=0).copy()
    same = diversity.measure_takes(takes, [_points(6)] * 3, real, _points(6), STANDARD)
    assert same["eyes_between_takes"] == same["mouth_between_takes"] == same["face_over_time"] == 0.0
    assert same["eyes_share"] is None  # the real clip does not move
    assert same["psnr_best"] == same["psnr_mean"] == 100.0
    takes[:, :, 40:60, 30:100] = (120 + 10 * np.array([-1, 0, 1]))[:, None, None, None, None]
    moving = real.copy()
    moving[:, 36:64, 26:102] = (100 + 20 * (np.arange(6) % 2))[:, None, None, None]
    gaps = rng.uniform(1, 6, 6)
    points = [_points(6, gaps), _points(6, gaps + 1e-6), _points(6, gaps)]
    found = diversity.measure_takes(takes, points, moving, _points(6), STANDARD)
    share = 20 * 70 / (28 * 76)
    assert found["eyes_between_takes"] == pytest.approx(np.sqrt(share * 200 / 3), rel=1e-5)
    assert found["eyes_real_over_time"] == pytest.approx(10.0)
    assert found["mouth_between_takes"] == 0.0
    assert found["opening_correlation"] == pytest.approx(1.0, abs=1e-4)
    assert found["psnr_best"] is not None and found["psnr_mean"] is not None
    assert found["psnr_best"] > found["psnr_mean"]


def _points(count: int, gaps: np.ndarray | None = None) -> np.ndarray:
    points = np.repeat(mean_face()[None], count, axis=0).astype(np.float32)
    if gaps is not None:
        points[:, 14, 1] = points[:, 13, 1] + gaps
    return points


def test_the_figures_as_commands(prepared: Path, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    run = CliRunner()
    chosen = [str(prepared), "--talkers", "a", "--clips", "1", "--system", f"mine={weights}", "--seed", "3"]
    for layout, names in (("grid", "a-*.png"), ("lrw", "strips.png")):
        result = run.invoke(app, ["figures", "strips", *chosen, "--layout", layout, "--out", str(tmp_path / layout)])
        assert result.exit_code == 0, result.output
        (picture,) = (tmp_path / layout).glob(names)
        assert Image.open(picture).height == 20 + 2 * 128
    shipped = [*chosen[:5], "--system", "call", "--temperature", "3"]
    result = run.invoke(app, ["figures", "takes", *shipped, "--out", str(tmp_path / "takes")])
    assert result.exit_code == 0, result.output
    (picture,) = (tmp_path / "takes").glob("a-*-call.png")
    sheet = np.asarray(Image.open(picture))
    assert sheet.shape[0] == 20 + 4 * 128
    red = (sheet == (230, 30, 30)).all(-1)
    assert red[148:404].any() and not red[404:].any() and not red[:148].any()  # on both takes, and nowhere else
    cold = run.invoke(app, ["figures", "takes", *chosen, "--temperature", "0", "--out", str(tmp_path / "cold")])
    assert cold.exit_code == 2 and "temperature above 0" in cold.output

    command = ["figures", "diversity", *chosen, "--takes", "3", "--out", str(tmp_path / "diversity")]
    result = run.invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "diversity" / "diversity.json").read_text())
    (row,) = report["rows"]
    assert row["takes"] == 3 and row["clips"] == 1 and row["weights"] == Model.of(weights).sha256
    assert row["psnr_best"] >= row["psnr_mean"] and row["eyes_between_takes"] > 0
    assert "3 takes of each of 1 clips" in (tmp_path / "diversity" / "diversity.md").read_text()
    (map_path,) = (tmp_path / "diversity" / "maps").glob("*.png")
    map_path.unlink()
    assert run.invoke(app, command).exit_code == 0
    assert not map_path.exists()  # what was done is not done again
