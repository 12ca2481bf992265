"""How answers are scored: normalization, exact match and F1 of the official HotpotQA evaluation.

Yang et al., EMNLP 2018, section 5, and `hotpot_evaluate_v1.py` of their repository; agents' code bases copy it.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CLOSED = frozenset(("yes", "no", "noanswer"))


def normalize(answer: str) -> str:
    """Lower case, without ASCII punctuation, without articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> bool:
    """Whether two answers are equal once normalized."""
    return normalize(prediction) == normalize(answer)


def f1(prediction: str, answer: str) -> float:
    """F1 of the normalized tokens as multisets, in [0, 1].

    Yes, no and noanswer earn nothing for a partial match. Two answers of which nothing is left share no token: 0.
    """
    said, meant = normalize(prediction), normalize(answer)
    if said != meant and (said in _CLOSED or meant in _CLOSED):
        return 0.0
    ours, theirs = said.split(), meant.split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)  # in this order, so that it equals recorded scores bit for bit
