"""What "whatever its case" means, the same for every store."""

import unicodedata


def fold(text: str) -> str:
    """Return *text* in the form in which texts are compared without regard to case.

    Compatibility-normalised (NFKC) and case-folded, as keyword search does with words; a text that is found in another before
    folding is found there afterwards in all but combining sequences.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
