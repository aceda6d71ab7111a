"""Can the words be read off drawn lips, as far as they can be read off real ones?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamhead.errors import DataError, OutputError
from streamhead.evaluation.evaluate import Scorer, code_digest
from streamhead.evaluation.lip_reader import CHANCE, SLOTS, LipReader, Sentence, mouths, read_words, sentence_of
from streamhead.evaluation.plan import Condition, Pair, Plan
from streamhead.evaluation.protocols import STANDARD
from streamhead.evaluation.tables import EVERYBODY, caption, estimate, write_texts
from streamhead.evaluation.videos import VideoFolder
from streamhead.files import write_whole
from streamhead.training.batches import read_clips

__all__ = ["REAL", "markdown", "read_pairs", "sentences", "summarise", "write"]

REAL: Final = Condition("clip", title="real clip")
"""What the reader learnt to read, of clips that it never saw."""

_SLOT_NAMES: Final = ("command", "colour", "preposition", "letter", "digit", "adverb")

Reading = dict[str, NDArray[np.bool_]]
"""Of one clip: row -> which of its six words were read right."""


def sentences(prepared: Path, split: str, progress: Callable[[int, int], None]) -> list[Sentence]:
    """The real sentences of a split; clips without all six words are left out.

    Raises:
        DataError: no such split, or a clip cannot be read.
    """
    clips = read_clips(prepared, split)
    found = []
    for number, clip in enumerate(clips, 1):
        try:
            found.append(sentence_of(clip))
        except (OSError, ValueError) as error:
            raise DataError(f"{clip.folder} cannot be read ({error}); prepare it again") from error
        progress(number, len(clips))
    return [one for one in found if one is not None]


def read_pairs(
    pairs: Sequence[Pair],
    plan: Plan,
    reader: LipReader,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Reading | None]:
    """Read each clip under each of the plan's conditions; lips are kept in ``out``, for a stopped run to go on.

    Args:
        pairs: the clips.
        plan: its conditions are the rows.
        reader: of :func:`streamhead.evaluation.lip_reader.load_reader`.
        out: folder of lips (``lips``).
        progress: called with the number of clips done and their total.

    Returns:
        Of each clip, by the row's label; None where the clip is no GRID sentence.

    Raises:
        DataError: a clip or its video cannot be read.
        OutputError: ``out`` cannot be written.
    """
    readings: list[Reading | None] = []
    progress(0, len(pairs))
    with Scorer(plan) as scorer:
        for done, pair in enumerate(pairs, 1):
            real = sentence_of(pair.clip)
            readings.append(None if real is None else _read(scorer, pair, real, reader, out))
            progress(done, len(pairs))
    return readings


def _read(scorer: Scorer, pair: Pair, real: Sentence, reader: LipReader, out: Path) -> Reading:
    reading = {REAL.label: read_words(reader, [real])[0]}
    for condition in scorer.plan.conditions:
        lips = _lips(scorer, pair, condition, out / "lips")
        if lips is not None:
            # A video may lack its last frames; the mouth is then still.
            lips = np.concatenate([lips, np.repeat(lips[-1:], len(real.mouths) - len(lips), axis=0)])
            reading[condition.label] = read_words(reader, [Sentence(lips, real.spans, real.words)])[0]
    return reading


def _lips(scorer: Scorer, pair: Pair, condition: Condition, folder: Path) -> NDArray[np.uint8] | None:
    plan, system = scorer.plan, scorer.plan.system(condition)
    video = system.digest(pair.clip) if isinstance(system, VideoFolder) else ""
    facts = [plan.facts(STANDARD, condition), condition.label, str(pair.clip.folder.resolve()), video, code_digest()]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    path = folder / f"{pair.clip.talker}-{pair.clip.name}-{key}.npy"
    if path.is_file():
        kept: NDArray[np.uint8] = np.load(path, allow_pickle=False)
        return kept
    drawn = scorer.draw(pair, condition)
    if drawn is None:
        return None
    lips = mouths(drawn)
    data = BytesIO()
    np.save(data, lips)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, data.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; make room or choose another --out") from error
    return lips


def summarise(pairs: Sequence[Pair], plan: Plan, readings: Sequence[Reading | None]) -> list[dict[str, Any]]:
    """Lines of the table: for each talker, and over all, each row's share of words read right and its score.

    The score is (share - chance) / (share of the real clips - chance), of the same clips.
    """
    known = [(pair.clip, one) for pair, one in zip(pairs, readings, strict=True) if one is not None]
    if not known:
        raise DataError("no clip is a GRID sentence with all six word timings; choose other clips")
    talkers = sorted({clip.talker for clip, _ in known})
    rows = []
    for talker in [*talkers, *([EVERYBODY] if len(talkers) > 1 else [])]:
        own = [one for clip, one in known if talker in (EVERYBODY, clip.talker)]
        for condition in (REAL, *plan.conditions):
            read = [one for one in own if condition.label in one]
            if not read:
                continue
            right = np.stack([one[condition.label] for one in read])
            share = estimate([float(line.mean()) for line in right], seed=plan.seed)
            assert share.value is not None
            real = float(np.stack([one[REAL.label] for one in read]).mean())
            rows.append(
                {
                    "talker": talker,
                    "row": condition.label,
                    "clips": len(read),
                    "words": int(right.size),
                    "share": share.value,
                    "share_low": share.low,
                    "share_high": share.high,
                    "score": (share.value - CHANCE) / (real - CHANCE) if real > CHANCE else None,
                    **dict(zip(_SLOT_NAMES, right.mean(0).tolist(), strict=True)),
                }
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]], pairs: Sequence[Pair], plan: Plan, reader: dict[str, str]) -> str:
    """The table as a Markdown document.

    Args:
        rows: of :func:`summarise`.
        pairs: the clips.
        plan: how they were drawn.
        reader: what the reader says about itself.
    """
    shown = [{**row, "clips": row["clips"], "split": pairs[0].clip.split} for row in rows]
    blurred = "half of them blurred" if json.loads(reader["blur"]) else "none of them blurred"
    lines = [
        "# Word legibility",
        "",
        f"{caption(shown, plan)}.",
        "",
        f"Reader: learnt from real training clips ({blurred}), epoch {reader['epoch']} of the greatest share on the "
        f"validation clips ({float(reader['accuracy']):.3f}), seed {reader['seed']}. The slot and the time of each "
        f"word are given; guessing gets {CHANCE:.3f} (slots of {', '.join(str(len(words)) for words in SLOTS)} words). "
        "Score: (share - chance) / (share of the real clips - chance). Brackets: 95 % bootstrap interval over clips.",
        "",
        "| talker | row | clips | words | read right | score | " + " | ".join(_SLOT_NAMES) + " |",
        "|---|---|---:|---:|---:|---:|" + "---:|" * len(_SLOT_NAMES),
    ]
    for row in rows:
        interval = "" if row["share_low"] is None else f" [{row['share_low']:.3f}, {row['share_high']:.3f}]"
        score = "-" if row["score"] is None else f"{row['score']:.2f}"
        slots = " | ".join(f"{row[name]:.2f}" for name in _SLOT_NAMES)
        lines.append(
            f"| {row['talker']} | {row['row']} | {row['clips']} | {row['words']} | {row['share']:.3f}{interval} | "
            f"{score} | {slots} |"
        )
    return "\n".join([*lines, ""])


def write(out: Path, rows: Sequence[dict[str, Any]], text: str) -> list[Path]:
    """Write ``legibility.json`` and ``legibility.md``.

    Raises:
        OutputError: the folder cannot be written.
    """
    return write_texts(out, {"legibility.json": json.dumps(rows, indent=1) + "\n", "legibility.md": text})
