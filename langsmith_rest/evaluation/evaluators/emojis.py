"""Counting emojis as a reader sees them."""

import re

SKIN = "[\U0001f3fb-\U0001f3ff]?"
COLOURED = (  # shown as pictures without being asked
    r"[\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1\u26aa\u26ab\u26bd\u26be"
    r"\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757"
    r"\u2764\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55\U0001f004\U0001f0cf\U0001f18e\U0001f191-\U0001f19a\U0001f201"
    r"\U0001f21a\U0001f22f\U0001f232-\U0001f236\U0001f238-\U0001f23a\U0001f300-\U0001f64f\U0001f680-\U0001f6ff"
    r"\U0001f7e0-\U0001f7eb\U0001f900-\U0001faff]"
)
ASKED = r"[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u23ff\u2460-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299]"
ONE = f"(?:{COLOURED}\ufe0f?(?!\ufe0e)|{ASKED}\ufe0f){SKIN}"
JOINED = f"{ONE}(?:\u200d(?:{COLOURED}|{ASKED})\ufe0f?{SKIN})*"
EMOJI = re.compile(f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{JOINED}")


def count_emojis(text: str) -> int:
    """How many emojis a reader sees: a flag, a keycap, a family joined of four are one each; a bare (c) is none."""
    return len(EMOJI.findall(text))
