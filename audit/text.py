"""Escapes invisible and reordering characters in untrusted text that is displayed."""

import unicodedata

HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode's general categories
BLANK = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"} | {
    chr(point) for point in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE0F))
}  # letters and marks without a glyph (UAX #44, Default_Ignorable_Code_Point; blank Braille)
JOINERS = {"\u200c", "\u200d"}  # needed by Persian words and emoji
WHITESPACE = "\t\n\r"


def visible(text: str, *, keep: str = "") -> str:
    """Replace control, bidi and other invisible characters by their JSON escapes."""
    hidden = {ord(char): _escape(char) for char in set(text) if _is_hidden(char) and char not in keep}
    return text.translate(hidden) if hidden else text


def _is_hidden(character: str) -> bool:
    return (unicodedata.category(character) in HIDDEN or character in BLANK) and character not in JOINERS


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
