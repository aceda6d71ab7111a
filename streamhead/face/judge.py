"""Whether a face can serve as a portrait: what must be refused, and what makes it a poor one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.errors import PortraitError
from streamhead.face.align import SIZE, crop, eye_centres, similarity

__all__ = ["MAX_TURN", "MIN_EYE_DISTANCE", "Judgement", "Remark", "judge"]

MIN_EYE_DISTANCE: Final = 24.0
"""Pixels between the eyes below which a face has too little to show (the canonical square has 42)."""

MAX_TURN: Final = 30.0
"""Degrees a head may be turned to the side; the model has met faces that look at the camera."""

_MAX_TILT: Final = 50.0
# The tip of the nose stands about this far in front of the eyes' corners, in eye distances: it moves sideways by
# this times the tangent of the turn. Measured on mediapipe's points of twelve people, rotated in space.
_NOSE_HEIGHT: Final = 0.65
_NOSE_TIP: Final = (1, 4)
_MUST_BE_SEEN: Final = (33, 133, 362, 263, 61, 291, 0, 17)
_INNER_LIPS: Final = ((13, 14), (82, 87), (312, 317))
_LIDS: Final = (((159, 145), (33, 133)), ((386, 374), (362, 263)))

# Where a portrait begins to be a poor one. Between faces that look well and ones that do not, by eye.
_GOOD_EYE_DISTANCE: Final = 40.0
_GOOD_TURN: Final = 18.0
_SHUT: Final = 0.06
_OPEN_EYES: Final = 0.14
_SHARP: Final = 0.010
_DARK: Final = 45.0
_BRIGHT: Final = 225.0
# The sharpness is measured at the size a face has in a 720p call, in the square's middle, where every face has skin.
_LOOK_SIZE: Final = 2 * SIZE
_FACE: Final = (slice(72, 220), slice(64, 192))


@dataclass(frozen=True, slots=True)
class Remark:
    """Something amiss with a portrait.

    Attributes:
        about: ``size``, ``tilt``, ``turn``, ``edge``, ``mouth``, ``eyes``, ``blur`` or ``light``.
        refused: it cannot work; otherwise it works, less well.
        text: what it is and what to do, one line that goes on from "the face ...".
    """

    about: str
    refused: bool
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was measured of a face.

    Attributes:
        eye_distance: pixels between the eyes' centres.
        tilt: degrees the head leans, clockwise in the picture.
        turn: degrees the head is turned, from where the tip of the nose lies.
        mouth: how far the lips are apart, in eye distances.
        eyes: height of the eyes' openings over their width, of the eye less open.
        sharpness: standard deviation of the Laplacian over that of the grey levels, squared.
        light: mean grey level of the face.
        remarks: what is amiss, what is refused first.
    """

    eye_distance: float
    tilt: float
    turn: float
    mouth: float
    eyes: float
    sharpness: float
    light: float
    remarks: tuple[Remark, ...]

    @property
    def works(self) -> bool:
        """Nothing is refused."""
        return not any(remark.refused for remark in self.remarks)

    @property
    def at_rest(self) -> bool:
        """The mouth is shut and the eyes are open."""
        return self.mouth <= _SHUT and self.eyes >= _OPEN_EYES

    def measures(self) -> dict[str, Any]:
        """The figures, rounded, without the remarks."""
        return {name: round(value, 4) for name, value in asdict(self).items() if name != "remarks"}

    def check(self, name: str) -> None:
        """Refuse a face that cannot serve.

        Raises:
            PortraitError: it is tiny, turned away, lying on its side or cut off.
        """
        for remark in self.remarks:
            if remark.refused:
                raise PortraitError(f"the face in {name} {remark.text}")


def _apart(points: NDArray[np.float32], a: int, b: int) -> float:
    return float(np.hypot(*(points[a] - points[b])))


def _geometry(points: NDArray[np.float32]) -> tuple[float, float, float, float, float]:
    left, right = eye_centres(points)
    across = right - left
    distance = max(float(np.hypot(*across)), 1e-6)
    tilt = float(np.degrees(np.arctan2(across[1], across[0])))
    sideways = float((points[list(_NOSE_TIP)].mean(0) - (left + right) / 2) @ across) / distance**2
    turn = float(np.degrees(np.arctan(sideways / _NOSE_HEIGHT)))
    mouth = float(np.mean([_apart(points, *pair) for pair in _INNER_LIPS])) / distance
    eyes = min(_apart(points, *lids) / max(_apart(points, *corners), 1e-6) for lids, corners in _LIDS)
    return distance, tilt, turn, mouth, eyes


def _look(image: NDArray[np.uint8], points: NDArray[np.float32]) -> tuple[float, float]:
    """Sharpness and light of the face."""
    square = crop(image, similarity(points), _LOOK_SIZE)[_FACE]
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 25.0)), float(grey.mean())


def judge(image: NDArray[np.uint8], points: NDArray[np.float32]) -> Judgement:
    """Measure a face and say what is amiss.

    Whether something covers a part of it (a mask, a hand, a microphone) is not told: the landmarks are guessed there.

    Args:
        image: ``(height, width, 3)`` RGB.
        points: ``(478, 2)`` in its pixels.
    """
    distance, tilt, turn, mouth, eyes = _geometry(points)
    seen = points[list(_MUST_BE_SEEN)]
    cut = bool((seen < 0).any() or (seen > (image.shape[1] - 1, image.shape[0] - 1)).any())
    remarks = []

    def remark(about: str, amiss: bool, text: str, refused: bool = False) -> None:
        if amiss:
            remarks.append(Remark(about, refused, text))

    remark(
        "size",
        distance < MIN_EYE_DISTANCE,
        f"is too small (eyes {distance:.0f} px apart, {MIN_EYE_DISTANCE:.0f} needed); "
        "use a closer picture or cut this one to head and shoulders",
        refused=True,
    )
    remark("tilt", abs(tilt) > _MAX_TILT, f"is tilted by {abs(tilt):.0f} degrees; rotate the picture upright", True)
    remark(
        "turn",
        abs(turn) > MAX_TURN,
        f"is turned about {abs(turn):.0f} degrees to the side, at most {MAX_TURN:.0f} work; "
        "use a picture that looks at the camera",
        refused=True,
    )
    remark("edge", cut, "is cut off by the picture's edge; use a picture of the whole head", refused=True)
    if remarks:
        return Judgement(distance, tilt, turn, mouth, eyes, 0.0, 0.0, tuple(remarks))
    sharpness, light = _look(image, points)
    remark(
        "size",
        distance < _GOOD_EYE_DISTANCE,
        f"is small (eyes {distance:.0f} px apart); from {_GOOD_EYE_DISTANCE:.0f} on it looks sharper",
    )
    remark(
        "turn",
        abs(turn) > _GOOD_TURN,
        f"is turned about {abs(turn):.0f} degrees; one that looks straight at the camera speaks better",
    )
    remark("mouth", mouth > _SHUT, "has its mouth open; with lips closed it rests and speaks better")
    remark("eyes", eyes < _OPEN_EYES, "has an eye shut; use a picture with both open")
    remark("blur", sharpness < _SHARP, "is blurred; use a sharper picture")
    remark("light", light < _DARK, "is dark; use a picture with more light on the face")
    remark("light", light > _BRIGHT, "is overexposed; use a picture with less light on the face")
    return Judgement(distance, tilt, turn, mouth, eyes, sharpness, light, tuple(remarks))
