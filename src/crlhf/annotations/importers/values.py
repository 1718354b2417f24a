"""Times, durations and offsets as tools write them, read as the raw table has them. Nothing is guessed."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

from crlhf.annotations.importers.contract import NO_TIME
from crlhf.annotations.quarantine import shown
from crlhf.annotations.raw_values import ValueFault

_DAY_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_UNIX_DATE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d) ([A-Z]{3}) (\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ZONES = {"UTC": 0, "GMT": 0, "PST": -8, "PDT": -7}


def time_of(value: Any, absent: str = NO_TIME) -> str:
    """A time as ISO 8601 in UTC; `absent` where there is none.

    Read are ISO 8601 (without a zone it is UTC), seconds since 1970, and the form of `date` that Mechanical Turk
    writes, `Thu Oct 09 07:30:20 UTC 2025`, in UTC or its own Pacific time.

    Raises:
        ValueFault: it is none of these (rule `times_valid`).
    """
    if value is None or value == "":
        return absent
    try:
        moment = _moment(value)
        return moment.astimezone(dt.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise ValueFault("times_valid", f"{shown(value)} is not a date with a time") from None


def _moment(value: Any) -> dt.datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    if not isinstance(value, str):
        raise ValueError(value)
    if found := _UNIX_DATE.fullmatch(value.strip()):
        month, day, clock, zone, year = found.groups()
        if month not in _MONTHS or zone not in _ZONES:
            raise ValueError(value)
        hours = dt.timedelta(hours=_ZONES[zone])
        moment = dt.datetime.fromisoformat(f"{year}-{_MONTHS.index(month) + 1:02d}-{int(day):02d}T{clock}")
        return moment.replace(tzinfo=dt.timezone(hours))
    if not _DAY_AND_TIME.match(value.strip()):
        raise ValueError(value)
    moment = dt.datetime.fromisoformat(value.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def seconds_of(value: Any) -> float:
    """A duration in seconds, 0 where there is none.

    Raises:
        ValueFault: it is not a finite number (rule `value_type`).
    """
    if value is None or value == "":
        return 0.0
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueFault("value_type", f"the duration is {shown(value)}, expected a number of seconds")
    return seconds


def whole_number(value: Any, what: str) -> int:
    """A whole number, also one written as text, as some tools write offsets.

    Raises:
        ValueFault: it is none (rule `value_type`).
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r" *[0-9]{1,18} *", value, re.ASCII):
        return int(value)
    raise ValueFault("value_type", f"{what} is {shown(value)}, expected a whole number")


def as_object(value: Any, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueFault: it is something else (rule `value_type`).
    """
    if not isinstance(value, dict):
        raise ValueFault("value_type", f"{what} is {shown(value)}, expected an object")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """A JSON list; none for null.

    Raises:
        ValueFault: it is something else (rule `value_type`).
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueFault("value_type", f"{what} is {shown(value)}, expected a list")
    return value
