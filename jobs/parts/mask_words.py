"""What a mask of action units shows, in words."""

from __future__ import annotations

from pipelines.au_masks import Fallback, MaskRecord
from pipelines.au_rules import RULES
from pipelines.mask_counts import ViewMasks

MOST_SHOWN = 3

_WHY_PLAIN = {
    Fallback.none: "The mask is a plain one",
    Fallback.no_landmarks: "No face was found in the clip: a plain mask",
    Fallback.no_active_unit: "No action unit is active in the clip: a plain mask",
    Fallback.outside: "No active unit has a point within the picture: a plain mask",
}
"""Of masks that show no unit."""
REASONS = {
    Fallback.none: "an active unit",
    Fallback.strongest: "none active: the strongest",
    Fallback.no_active_unit: "none active: plain mask",
    Fallback.outside: "none in the picture: plain mask",
    Fallback.no_landmarks: "no face found: plain mask",
}
"""Short, for tables and lists."""


def unit_name(unit: int) -> str:
    return f"AU{unit}, {RULES[unit].name.lower()}"


def mask_sentence(record: MaskRecord, visible: int) -> str:
    """For a caption; `visible` tokens are all that the model sees."""
    if not record.unit:
        return f"{_WHY_PLAIN[record.fallback]}, {visible} visible tokens."
    why = " (none is active: the one of the highest score)" if record.fallback is Fallback.strongest else ""
    lost = f" ({record.dropped} more found no room)" if record.dropped else ""
    others = visible - record.kept
    return f"The mask keeps {unit_name(record.unit)}{why}: {record.kept} of its tokens{lost} and {others} others."


def counts_sentence(masks: ViewMasks) -> str:
    """For a log: how many masks, why they show what they show, and the units that most of them show."""
    if not masks.masks:
        return "none drawn"

    def shares(counts: dict[str, int]) -> str:
        return ", ".join(f"{name} {count / masks.masks:.0%}" for name, count in counts.items() if count)

    reasons = {REASONS[fallback]: count for fallback, count in masks.fallbacks.items()}
    most = sorted(masks.units, key=masks.units.get, reverse=True)[:MOST_SHOWN]
    units = shares({f"AU{unit}": masks.units[unit] for unit in most}) or "none"
    dropped = f"{masks.dropped / masks.masks:.1f} tokens dropped per mask"
    return f"{masks.masks} drawn: {shares(reasons)}; most often {units}; {dropped}"
