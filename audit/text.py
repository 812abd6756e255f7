"""Text that others chose, shown to people: what can't be seen, or reorders what can, is spelt out."""

import unicodedata

HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode's general categories
BLANK = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"} | {
    chr(point) for point in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE0F))
}  # letters and marks that show nothing (UAX #44, Default_Ignorable_Code_Point; the blank of Braille)
JOINERS = {"\u200c", "\u200d"}  # of Persian words and of emoji
WHITESPACE = "\t\n\r"


def visible(text: str, *, keep: str = "") -> str:
    """`text` with its control, bidi and other unseen characters as JSON spells them, U+202E for example."""
    hidden = {ord(one): _escaped(one) for one in set(text) if _is_hidden(one) and one not in keep}
    return text.translate(hidden) if hidden else text


def _is_hidden(character: str) -> bool:
    return (unicodedata.category(character) in HIDDEN or character in BLANK) and character not in JOINERS


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
