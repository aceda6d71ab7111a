"""Synthetic voices that say when they say what: flite, festival and espeak-ng, which must be installed.

apt-get install flite espeak-ng festival festvox-kdlpc16k festvox-italp16k festvox-itapc16k festvox-suopuhe-lj
festvox-suopuhe-mv festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph festvox-ca-ona-hts
festvox-ru
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import StreamheadError

__all__ = ["Phone", "Said", "say"]

Phone = tuple[float, float, str]
Said = tuple[NDArray[np.float32], list[Phone]]

# What espeak-ng's English voices call their sounds, without stress and variants, against ARPABET's names.
_ARPABET: Final = {name: name for name in "pbtdkgfvszmnlwr"} | {
    "T": "th",
    "D": "dh",
    "S": "sh",
    "Z": "zh",
    "tS": "ch",
    "dZ": "jh",
    "N": "ng",
    "h": "hh",
    "j": "y",
    "x": "k",
    "?": "hh",
    "*": "d",
    "V": "ah",
    "@": "ax",
    "3": "er",
    "3:": "er",
    "I": "ih",
    "i": "iy",
    "i:": "iy",
    "E": "eh",
    "e": "eh",
    "a": "ae",
    "aa": "ae",
    "A": "aa",
    "A:": "aa",
    "0": "aa",
    "O": "ao",
    "O:": "ao",
    "U": "uh",
    "u": "uw",
    "u:": "uw",
    "eI": "ey",
    "e:": "ey",
    "aI": "ay",
    "aU": "aw",
    "OI": "oy",
    "oU": "ow",
    "@U": "ow",
    "o": "ow",
    "o:": "ow",
    "e@": "eh",
    "i@": "ih",
    "U@": "uh",
    "A@": "aa",
    "O@": "ao",
    "o@": "ao",
    "@L": "l",
    "aI@": "ay",
    "aU@": "aw",
    "VR": "er",
    "IR": "er",
    "t[": "t",
}
# What festival's voices of other languages call theirs, without stress, length and doubling.
_FOREIGN: Final = (
    {name: name for name in [*"pbtdkgfvszmnlrw", "sh", "zh", "ch", "ax"]}
    | {"a": "aa", "e": "eh", "i": "iy", "o": "ao", "u": "uw", "y": "uw", "E": "eh", "O": "ao", "A": "aa", "ae": "eh"}
    | {"ay": "ah", "j": "y", "h": "hh", "x": "k", "S": "sh", "Z": "zh", "tS": "ch", "dZ": "jh", "ts": "s", "dz": "z"}
    | {"J": "n", "L": "l", "N": "ng", "ng": "ng", "ur": "uw", "B": "v", "D": "dh", "G": "g", "c": "s", "sch": "sh"}
)
# Where one language means something else by a name: czech's c is "ts", its ch the sound of "loch".
_OF_VOICE: Final = {
    "czech": {"ch": "k", "c~": "ch", "d~": "d", "dz~": "jh", "n~": "n", "n*": "ng", "r~": "zh", "r~*": "sh"}
    | {"s~": "sh", "t~": "t", "z~": "zh"},
    "msu_ru": {"y": "iy", "c": "s"},
}
_MARKS: Final = {";", "_!", "_|"}
"""Of espeak-ng's, said of the sound before."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


def say(engine: str, voice: str, text: str, slowness: float = 1.0, pitch: float | None = None) -> Said:
    """Samples at 16 kHz, and ARPABET's phones with their start and end in seconds; what is no phone is ``pau``.

    Args:
        engine: ``flite``, ``festival`` or ``espeak``.
        voice: as that engine names it.
        text: English, or what the voice's language is.
        slowness: how long it takes against its usual time.
        pitch: about so many hertz; None, and festival's voices of other languages in any case: as usual.

    Raises:
        StreamheadError: the engine or its voice is not installed.
    """
    if engine == "espeak":
        return _say_espeak(text, voice, slowness, pitch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        return (_say_flite if engine == "flite" else _say_festival)(text, voice, slowness, pitch, path)


def _run(command: list[str], packages: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StreamheadError(f"{command[0]} cannot say it; apt-get install {packages}") from error


def _read(path: Path, ends: list[tuple[float, str]]) -> Said:
    sound, rate = load_audio(path)
    starts = [0.0, *(end for end, _ in ends)]
    phones = [(start, end, name) for start, (end, name) in zip(starts, ends, strict=False)]
    return resample(as_float_mono(sound), rate), phones


def _say_flite(text: str, voice: str, slowness: float, pitch: float | None, path: Path) -> Said:
    features = [f"duration_stretch={slowness}"] + ([] if pitch is None else [f"int_f0_target_mean={pitch}"])
    command = ["flite", "-voice", voice, "-t", text, "-psdur", "-o", str(path)]
    command += [part for feature in features for part in ("--setf", feature)]
    pairs = [part.split(":") for part in _run(command, "flite").split()]
    return _read(path, [(float(end), name) for name, end in pairs])


def _say_festival(text: str, voice: str, slowness: float, pitch: float | None, path: Path) -> Said:
    labels, script = path.with_suffix(".lab"), path.with_suffix(".scm")
    plain = re.sub(r"[^\w\s.,;:!?'-]", "", text)
    model = "(model_f0_mean 170) (model_f0_std 34)"
    tune = "" if pitch is None else f"(set! int_lr_params '((target_f0_mean {pitch}) (target_f0_std 18) {model}))\n"
    script.write_text(
        f"(voice_{voice})\n(Parameter.set 'Duration_Stretch {slowness})\n{tune}"
        f'(set! said (utt.synth (Utterance Text "{plain}")))\n'
        f'(utt.save.wave said "{path}" \'riff)\n(utt.save.segs said "{labels}")\n'
    )
    _run(["festival", "-b", str(script)], "festival festvox-kdlpc16k")
    if not path.is_file():  # a voice that is not there is no error to it
        raise StreamheadError(f"festival has no voice {voice}; apt-get install festvox-kdlpc16k")
    rows = [line.split() for line in labels.read_text().splitlines() if not line.startswith("#")]
    return _read(path, [(float(row[0]), _festivals(row[2], voice)) for row in rows if len(row) == 3])


def _festivals(name: str, voice: str) -> str:
    if voice == "ked_diphone":  # says ARPABET itself
        return name
    own = next((names for start, names in _OF_VOICE.items() if voice.startswith(start)), {})
    plain = re.sub(r"[1:]+$", "", name)
    single = plain[0] if len(plain) == 2 and plain[0] == plain[1] else plain
    return own.get(plain) or own.get(single) or _FOREIGN.get(single, "pau")


def _say_espeak(text: str, voice: str, slowness: float, pitch: float | None) -> Said:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise StreamheadError("espeak-ng is not installed; apt-get install espeak-ng") from error
    rate = library.espeak_Initialize(2, 0, None, 1)  # synchronous, with phoneme events
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise StreamheadError(f"espeak-ng has no voice {voice}")
    library.espeak_SetParameter(1, round(175 / slowness), 0)  # words a minute
    library.espeak_SetParameter(3, 50 if pitch is None else int(np.clip((pitch - 60) / 2, 0, 99)), 0)
    parts: list[NDArray[np.int16]] = []
    starts: list[tuple[float, str]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def take(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            name = events[index].name.decode(errors="replace")
            if events[index].type == 7 and name not in _MARKS:
                starts.append((events[index].audio_position / 1000, name))
            index += 1
        return 0

    library.espeak_SetSynthCallback(take)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    sound = np.concatenate(parts).astype(np.float32) / 32768
    ends = [start for start, _ in starts[1:]] + [len(sound) / rate]
    phones = [(start, end, _arpabet(name)) for (start, name), end in zip(starts, ends, strict=True)]
    return resample(sound, rate), phones


def _arpabet(name: str) -> str:
    plain = name.strip("',%=|")
    for known in (plain, re.sub(r"(?<=.)[\d#~-]+(?=:?$)", "", plain)):
        if known in _ARPABET:
            return _ARPABET[known]
    return "pau"
