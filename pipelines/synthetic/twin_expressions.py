"""Which of our eight emotions a class of a labelled corpus is played as, at which of our three levels.

Corpora with more classes than we have emotions mix two: the face shows what either shows. So every class is a pattern
of action units of its own, though some differ little, as they do in people.
"""

from __future__ import annotations

from collections.abc import Sequence

CLEAR = (2, 3)
Expression = dict[str, tuple[int, ...]]
"""Emotion -> levels of which each clip draws one."""


def _alike(**words: str) -> dict[str, Expression]:
    """Classes that are one of our emotions, by that."""
    return {word: {emotion: CLEAR} for emotion, word in words.items()}


_MOVIE_WORDS = _alike(
    happy="Happy", sad="Sad", neutral="Neutral", angry="Angry", surprised="Surprise", disgusted="Disgust", fear="Fear"
)
_STORY_WORDS = _alike(
    angry="anger", disgusted="disgust", fear="fear", happy="happiness", sad="sadness", surprised="surprise"
)
EXPRESSIONS: dict[str, dict[str, Expression]] = {
    "dfew": _MOVIE_WORDS,
    "ferv39k": _MOVIE_WORDS,
    "mafw": {
        **_STORY_WORDS,
        **_alike(neutral="neutral", contempt="contempt"),
        "anxiety": {"fear": (1,), "angry": (1,)},
        "helplessness": {"sad": CLEAR, "surprised": (1,)},
        "disappointment": {"sad": (1,), "contempt": CLEAR},
    },
    "crema_d": _alike(angry="ANG", disgusted="DIS", fear="FEA", happy="HAP", neutral="NEU", sad="SAD"),
    "ravdess": {
        **_alike(neutral="neutral", happy="happy", sad="sad", angry="angry", fear="fearful", disgusted="disgust"),
        **_alike(surprised="surprised"),
        "calm": {"happy": (1,)},
    },
    "enterface05": _STORY_WORDS,
    "mfa": {
        "contempt": {"contempt": CLEAR},
        "annoyed": {"angry": (1,)},
        "anger": {"angry": (2,)},
        "hatred": {"angry": (2,), "contempt": CLEAR},
        "furious": {"angry": (3,)},
    },
    "cmu_mosei": _STORY_WORDS,
    "table": _alike(angry="angry", happy="happy", neutral="neutral", sad="sad"),
}


def expression_of(corpus: str, words: Sequence[str], level: int | None) -> Expression:
    """What a clip of all of these classes shows; neutral for none. `level` counts where a class leaves it open."""
    shown: Expression = {}
    for word in words:
        for emotion, levels in EXPRESSIONS[corpus][word].items():
            shown[emotion] = max(shown.get(emotion, ()), (level,) if level and len(levels) > 1 else levels)
    return shown or {"neutral": CLEAR}
