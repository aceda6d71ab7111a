"""Whether a face can serve as a portrait: what must be refused, and what makes it a poor one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.errors import PortraitError
from streamhead.face.align import SIZE, crop, eye_centres, similarity, transform_points

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
# A mouth that is open further cannot be shut in the picture: its lips are drawn out of shape.
_WIDE: Final = 0.35
_OPEN_EYES: Final = 0.14
_SHARP: Final = 0.010
_DARK: Final = 45.0
_BRIGHT: Final = 225.0
# The sharpness is measured at the size a face has in a 720p call, in the square's middle, where every face has skin.
_LOOK_SIZE: Final = 2 * SIZE
_FACE: Final = (slice(72, 220), slice(64, 192))

_OUTER_LIPS: Final = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INSIDE_LIPS: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
# Lips are redder than the skin around them, on CIELAB's a* by 5 to 23 on 14 talkers and 10 other faces from dark to
# fair. With a patch of skin or a grey ball before the mouth it was -2 to 1 (3 and 6 on two with lips partly seen).
_COVERED: Final = 2.5
_CHEEKS: Final = ((slice(132, 160), slice(68, 92)), (slice(132, 160), slice(164, 188)))
# Below this much colour in the skin it is a black-and-white picture, or next to one: nothing can be told.
_COLOURLESS: Final = 6.0


@dataclass(frozen=True, slots=True)
class Remark:
    """Something amiss with a portrait.

    Attributes:
        about: ``size``, ``tilt``, ``turn``, ``edge``, ``mouth``, ``eyes``, ``cover``, ``blur`` or ``light``.
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
        redness: how much redder the lips are than the skin around them, on CIELAB's a*; 0 in a picture without colour.
        remarks: what is amiss, what is refused first.
    """

    eye_distance: float
    tilt: float
    turn: float
    mouth: float
    eyes: float
    sharpness: float
    light: float
    redness: float
    remarks: tuple[Remark, ...]

    @property
    def works(self) -> bool:
        """Nothing is refused."""
        return not any(remark.refused for remark in self.remarks)

    @property
    def at_rest(self) -> bool:
        """The mouth is shut and the eyes are open."""
        return self.mouth <= _SHUT and self.eyes >= _OPEN_EYES

    @property
    def can_be_shut(self) -> bool:
        """The mouth is open, as in a smile or a word, and no further than the picture can be shut."""
        return _SHUT < self.mouth <= _WIDE

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


def _look(square: NDArray[np.uint8]) -> tuple[float, float]:
    """Sharpness and light of the face, of the square at ``_LOOK_SIZE``."""
    grey = cv2.cvtColor(square[_FACE], cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 25.0)), float(grey.mean())


def _redness(square: NDArray[np.uint8], points: NDArray[np.floating]) -> tuple[float, float]:
    """How much redder the lips are than the skin around them, and how much colour the cheeks have (CIELAB)."""
    areas = []
    for ring in (_OUTER_LIPS, _INSIDE_LIPS):
        area = np.zeros(square.shape[:2], np.uint8)
        cv2.fillPoly(area, [np.round(points[list(ring)]).astype(np.int32)], (1,))
        areas.append(area)
    mouth, inside = areas
    near, far, rim = (np.ones((side, side), np.uint8) for side in (9, 37, 5))
    around = (cv2.dilate(mouth, far) > 0) & (cv2.dilate(mouth, near) == 0)
    lips = (mouth > 0) & (cv2.dilate(inside, rim) == 0)
    colour = cv2.cvtColor(square.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)[..., 1:]
    if not lips.any() or not around.any():
        return 0.0, 0.0
    redder = np.median(colour[lips], axis=0)[0] - np.median(colour[around], axis=0)[0]
    cheeks = np.median(np.concatenate([colour[cheek].reshape(-1, 2) for cheek in _CHEEKS]), axis=0)
    return float(redder), float(np.hypot(*cheeks))


def judge(image: NDArray[np.uint8], points: NDArray[np.float32]) -> Judgement:
    """Measure a face and say what is amiss.

    Whether something covers a part of it (a mask, a hand, a microphone) the landmarks do not tell: they are guessed
    there. Of the mouth the lips' colour tells it, unless what is before it is red or the picture has no colour.

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
        return Judgement(distance, tilt, turn, mouth, eyes, 0.0, 0.0, 0.0, tuple(remarks))
    to_square = similarity(points)
    square = crop(image, to_square, _LOOK_SIZE)
    sharpness, light = _look(square)
    # Edges meet edges when the square is enlarged.
    redness, colour = _redness(square, (transform_points(to_square, points) + 0.5) * (_LOOK_SIZE / SIZE) - 0.5)
    if colour < _COLOURLESS:
        redness = 0.0
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
    remark("mouth", _SHUT < mouth <= _WIDE, "has its mouth open; it is shown shut, lips closed look better")
    remark("mouth", mouth > _WIDE, "has its mouth wide open; use a picture with lips closed, or next to it")
    remark("eyes", eyes < _OPEN_EYES, "has an eye shut; use a picture with both open")
    remark(
        "cover",
        colour >= _COLOURLESS and redness < _COVERED,
        "shows no lips that differ from the skin around them; if a hand, a mask or a microphone is before the mouth, "
        "use a picture without it",
    )
    remark("blur", sharpness < _SHARP, "is blurred; use a sharper picture")
    remark("light", light < _DARK, "is dark; use a picture with more light on the face")
    remark("light", light > _BRIGHT, "is overexposed; use a picture with less light on the face")
    return Judgement(distance, tilt, turn, mouth, eyes, sharpness, light, redness, tuple(remarks))
