"""Vectors of words by their letters: words that are written alike have vectors that are alike."""

LETTERS = "!\"#$%&'()*+,-./0123456789:;<=>?@_abcdefghijklmnopqrstuvwxyz"


def letters(words: list[str], length: int = 20) -> list[list[int]]:
    """Each word as the numbers of its letters, with zeros in front; 0 is what is no letter."""
    cut = [word.lower()[:length] for word in words]
    return [[0] * (length - len(word)) + [LETTERS.find(c) + 1 for c in word] for word in cut]
