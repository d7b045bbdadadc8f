"""Texts that others wrote, made fit to be looked at."""


def printable(text: str) -> str:
    """The text with an escape for whatever a terminal would act on, or a page would hide or turn around: names come from
    files and objects that others wrote."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
