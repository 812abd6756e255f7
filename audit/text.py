"""Text that others chose, shown to people: what can't be seen, or reorders what can, is spelt out."""

import unicodedata

HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode's general categories
JOINERS = {"\u200c", "\u200d"}  # of Persian words and of emoji
WHITESPACE = "\t\n\r"


def visible(text: str, *, keep: str = "") -> str:
    """`text` with its control, bidi and other unseen characters as JSON spells them, U+202E for example."""
    hidden = {ord(one): _escaped(one) for one in set(text) if _is_hidden(one) and one not in keep}
    return text.translate(hidden) if hidden else text


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN and character not in JOINERS


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
