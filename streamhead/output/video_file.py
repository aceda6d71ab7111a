"""Frames to a video file: H.264 and AAC, sound and picture of each frame at the same instant."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from streamhead.errors import OutputError
from streamhead.output.credentials import Credentials
from streamhead.output.disclosure import METADATA, append_xmp
from streamhead.output.frame import Frame
from streamhead.timebase import FPS, HOP, SAMPLE_RATE

__all__ = ["VideoWriter", "check_writable", "side_by_side"]

_LAYOUTS: Final = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_RATES: Final = (32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
"""Rates at which AAC's frame of 1024 samples, in which sound must end, is shorter than a picture's 40 ms."""


def _refusal(path: Path, error: Exception) -> OutputError:
    if getattr(error, "errno", None) == errno.ENOSPC:
        return OutputError(f"no room left to write {path}; free some, or choose another place")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return OutputError(f"cannot write {path}: {reason}; choose another place or name (such as out.mp4)")


def check_writable(path: Path) -> None:
    """Find out before long work whether a file can be written.

    Raises:
        OutputError: it cannot.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name such as {path / 'out.mp4'}")
    if path.suffix not in (".mp4", ".mkv", ".mov"):
        raise OutputError(f"{path} has no ending that tells the format; call it {path.with_suffix('.mp4')}")
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


class VideoWriter:
    """Writes frames as they come; the file appears under its name only when it is whole.

    A frame is shown at its pts, counted from the first frame's, and its sound is heard at the same instant; where
    frames are missing the sound of their time is silence. Sound is kept at its rate and in its channels; rates that
    AAC does not know, or at which its frames are longer than a picture, are resampled up. The file says that it is
    synthetic: in its comment and, but for ``.mkv``, in XMP.

    Args:
        path: ending in ``.mp4``, ``.mkv`` or ``.mov``.
        credentials: sign the file with them.

    Raises:
        OutputError: the file cannot be written (on entering, writing or leaving).
    """

    def __init__(self, path: str | os.PathLike[str], credentials: Credentials | None = None) -> None:
        self.path = Path(path)
        self._credentials = credentials
        self._partial = self.path.with_name(f".{self.path.stem}.{os.getpid()}.partial{self.path.suffix}")
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._layout = ""
        self._resampler: AudioResampler | None = None
        self._start = 0
        self._samples = 0

    def __enter__(self) -> Self:
        check_writable(self.path)
        if self._credentials is not None:
            self._credentials.check_format(self.path)
        options = {} if self.path.suffix == ".mkv" else {"movflags": "+faststart"}
        try:
            self._container = av.open(str(self._partial), "w", options=options)
            self._container.metadata.update(METADATA)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _refusal(self.path, error) from error
        return self

    def _begin(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if height % 2 or width % 2:
            raise OutputError(f"a video's sides must be even, not {width}x{height}; choose another --size")
        channels = 1 if frame.audio.ndim == 1 else frame.audio.shape[1]
        if channels not in _LAYOUTS:
            raise OutputError(f"a video's sound has 1 to 6 or 8 channels, not {channels}; mix it down")
        self._start = frame.pts
        self._video = self._container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        codec = self._video.codec_context
        codec.time_base = Fraction(1, FPS)
        # Said in so many words: what says nothing is guessed from its size, and the colours shift.
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        rate = frame.sample_rate
        if rate not in _AAC_RATES:
            rate = 44_100 if rate % 11_025 == 0 else 48_000
        self._layout = _LAYOUTS[channels]
        self._audio = self._container.add_stream("aac", rate=rate, layout=self._layout)
        self._resampler = AudioResampler(format="fltp", layout=self._layout, rate=rate)

    def write(self, frame: Frame) -> None:
        """Add a frame and its sound; frames come in the order of their pts."""
        try:
            if self._video is None:
                self._begin(frame)
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.pts, picture.time_base = (frame.pts - self._start) // HOP, Fraction(1, FPS)
            self._container.mux(self._video.encode(picture))
            sound = frame.audio[:, None] if frame.audio.ndim == 1 else frame.audio
            missing = -(-(frame.pts - self._start) * frame.sample_rate // SAMPLE_RATE) - self._samples
            if missing > 0:
                sound = np.concatenate((np.zeros((missing, sound.shape[1]), np.float32), sound))
            if len(sound):
                self._write_sound(sound, frame.sample_rate)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _refusal(self.path, error) from error

    def _write_sound(self, samples: NDArray[np.float32], rate: int) -> None:
        planes = np.ascontiguousarray(np.clip(samples, -1.0, 1.0).T, dtype=np.float32)
        sound = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._layout)
        sound.sample_rate, sound.time_base, sound.pts = rate, Fraction(1, rate), self._samples
        self._samples += len(samples)
        self._encode_sound(sound)

    def _encode_sound(self, sound: av.AudioFrame | None) -> None:
        assert self._resampler is not None
        for piece in self._resampler.resample(sound):
            self._container.mux(self._audio.encode(piece))

    def _label(self) -> None:
        if self.path.suffix != ".mkv":
            append_xmp(self._partial)
        if self._credentials is not None:
            signed = self._partial.with_stem(f"{self._partial.stem}.signed")
            try:
                self._credentials.sign(self._partial, signed)
                os.replace(signed, self._partial)
            finally:
                signed.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = kind is None and self._video is not None
        try:
            if whole:
                self._container.mux(self._video.encode(None))
                self._encode_sound(None)
                self._container.mux(self._audio.encode(None))
            self._container.close()
            if whole:
                self._label()
                os.replace(self._partial, self.path)
            elif kind is None:
                raise OutputError(f"nothing to write to {self.path}: there was no frame")
        except (av.FFmpegError, OSError, ValueError) as failure:
            if kind is None:
                raise _refusal(self.path, failure) from failure
        finally:
            self._container = self._video = self._audio = None  # closes the file even where close() failed
            self._partial.unlink(missing_ok=True)


def side_by_side(takes: Sequence[Path], target: Path, credentials: Credentials | None = None) -> None:
    """Tile several takes of one length into one video, with the first one's sound; ``credentials`` sign it.

    Raises:
        OutputError: a take cannot be read or the target cannot be written.
    """
    columns = int(np.ceil(np.sqrt(len(takes))))
    rows = -(-len(takes) // columns)
    try:
        with ExitStack() as stack:
            samples, rate = _sound(takes[0])
            writer = stack.enter_context(VideoWriter(target, credentials))
            videos = [stack.enter_context(av.open(str(take))).decode(video=0) for take in takes]
            for t, pictures in enumerate(zip(*videos, strict=False)):
                images = [picture.to_ndarray(format="rgb24") for picture in pictures]
                height, width = images[0].shape[:2]
                sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
                for index, image in enumerate(images):
                    y, x = divmod(index, columns)
                    sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = image
                sound = samples[t * rate // FPS : (t + 1) * rate // FPS]
                writer.write(Frame(sheet, t * HOP, sound, rate, True))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _refusal(target, error) from error


def _sound(path: Path) -> tuple[NDArray[np.float32], int]:
    """The sound of a video that :class:`VideoWriter` wrote, ``(n, channels)``, and its rate."""
    with av.open(str(path)) as source:
        pieces = [np.asarray(piece.to_ndarray(), np.float32) for piece in source.decode(audio=0)]
        return np.concatenate(pieces, axis=1).T, source.streams.audio[0].rate
