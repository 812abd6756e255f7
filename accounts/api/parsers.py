import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import JSONParser

DEEPEST = 64  # objects and arrays in one another


class StrictJSONParser(JSONParser):
    """RFC 8259 in UTF-8: no NaN, no lone surrogates, no number beyond a float, no nesting without end."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if (media_type or "").partition(";")[0].strip().lower() != self.media_type:
            raise UnsupportedMediaType(media_type or "")  # application/* would match
        return parsed(stream.read())


def parsed(body: bytes) -> Any:
    """Raises ParseError."""
    try:
        text = body.decode("utf-8")
        data = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        _measure(data)
        if "\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ParseError from error
    return data


def _refuse(constant: str) -> None:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(text)
    return number


def _measure(data: Any) -> None:
    level = [data]
    for _ in range(DEEPEST + 1):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    _refuse("so deep a nesting")


def _children(data: Any) -> Iterable[Any]:
    if isinstance(data, dict):
        return data.values()
    return data if isinstance(data, list) else ()
