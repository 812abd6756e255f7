import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import JSONParser

MAX_DEPTH = 64  # of nested objects and arrays


class StrictJSONParser(JSONParser):
    """RFC 8259 in UTF-8: no NaN, no lone surrogates, no number beyond a float, limited nesting."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if (media_type or "").partition(";")[0].strip().lower() != self.media_type:
            raise UnsupportedMediaType(media_type or "")  # application/* would match
        try:
            return _parsed(stream.read().decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ParseError from error


def _parsed(text: str) -> Any:
    data = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    _check_depth(data)
    if "\\u" in text:
        json.dumps(data, ensure_ascii=False).encode()  # fails for lone surrogates
    return data


def _refuse(constant: str) -> None:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(text)
    return number


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    _refuse("deeper nesting")


def _children(data: Any) -> Iterable[Any]:
    if isinstance(data, dict):
        return data.values()
    return data if isinstance(data, list) else ()
