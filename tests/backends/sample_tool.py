"""A function to make a tool of, and how to call a tool."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel

from callgate.backends.tool import Tool
from callgate.call.calling import Calling


def call(tool: Tool, **arguments: Any) -> Any:
    return asyncio.run(tool.call(Calling(arguments, backend=tool))).data


def parameters(tool: Tool) -> dict[str, Any]:
    return tool.tool_schema["function"]["parameters"]


class Units(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Place(BaseModel):
    city: str
    country: str = "NO"


def forecast(
    city: str,
    days: int = 1,
    *,
    units: Literal["metric", "imperial"] = "metric",
    near: Place | None = None,
    scale: Units = Units.CELSIUS,
) -> dict[str, Any]:
    """Tell the weather of the coming days.

    It is not always right.

    Args:
        city: The city, by the name
            its people give it.
        days (int): How many days.

    Returns:
        Whatever.
    """
    return {"city": city, "days": days, "units": units, "near": near, "scale": scale}
