"""Functions whose types are Pydantic's."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from msgspec import Raw, Struct
from pydantic import BaseModel, ConfigDict, Field

from codemode_client._tools.functions import FunctionTool
from codemode_protocol.errors import ToolError


class Stop(BaseModel):
    """One stop."""

    model_config = ConfigDict(strict=True)

    at: datetime.datetime
    city: str = Field(description="Its name.", min_length=2)


class Trip(BaseModel):
    stop_list: list[Stop] = Field(alias="stops")
    follows: Trip | None = None


@pydantic.dataclasses.dataclass
class Size:
    width: int = Field(gt=0)


class Booking(Struct):
    """Not Pydantic's itself."""

    trip: Trip
    note: str = ""


STOP = b'{"at": "2025-01-02T03:04:05Z", "city": "Oslo"}'
STOPPED = {"at": "2025-01-02T03:04:05Z", "city": "Oslo"}
TRIP = b'{"stops": [' + STOP + b"]}"
TRIPPED = {"stops": [STOPPED], "follows": None}


async def call(function: Callable[..., object], argument: bytes = b"null") -> Any:
    return msgspec.json.decode(await FunctionTool(function).call(Raw(argument)))


def inputs(function: Callable[..., object]) -> Any:
    return msgspec.json.decode(FunctionTool(function).definition.input_schema)


def plan(
    trip: Trip,
    also: list[Trip] | None = None,
    by_name: dict[str, Stop | Size] | None = None,
    seats: Annotated[int, Field(gt=0, description="How many.")] = 1,
    booking: Booking | None = None,
) -> Trip:
    """Plan a trip.

    Args:
        trip: The trip itself.
        seats: Not this one.
    """
    assert isinstance(trip, Trip)
    assert all(isinstance(other, Trip) for other in also or ())
    assert all(isinstance(value, (Stop, Size)) for value in (by_name or {}).values())
    assert booking is None or isinstance(booking.trip, Trip)
    return trip


def test_the_schemas_of_models_are_pydantics_and_stand_among_the_others() -> None:
    schema = inputs(plan)
    assert schema["properties"]["trip"] == {"$ref": "#/$defs/Trip", "description": "The trip itself."}
    assert schema["properties"]["seats"] == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "default": 1,
        "description": "How many.",
    }
    assert schema["required"] == ["trip"]
    assert set(schema["$defs"]) == {"Trip", "Stop", "Size", "Booking"}
    assert schema["$defs"]["Booking"]["properties"]["trip"] == {"$ref": "#/$defs/Trip"}
    assert schema["$defs"]["Stop"]["properties"]["city"]["description"] == "Its name."
    assert b"$defs" not in msgspec.json.encode(list(schema["$defs"].values())).replace(b"#/$defs/", b"")


async def test_models_are_read_and_written_wherever_they_stand() -> None:
    everything = (
        b'{"trip": %b, "also": [%b], "by_name": {"a": %b, "b": {"width": 2}}, "seats": 2, "booking": {"trip": %b}}'
    ) % (TRIP, TRIP, STOP, TRIP)
    assert await call(plan, everything) == TRIPPED
    assert await call(plan, b'{"trip": %b}' % TRIP) == TRIPPED


async def test_all_that_does_not_fit_is_named() -> None:
    wrong = (
        b'{"trip": {"stops": [{"at": 5, "city": "x"}], "follows": {}}, "also": [7], "seats": 0,'
        b' "booking": {"trip": {}}, "when": 1}'
    )
    with pytest.raises(ToolError) as caught:
        await call(plan, wrong)
    for complaint in (
        "invalid arguments for plan: trip.stops[0].at: ",
        'trip.stops[0].city: string should have at least 2 characters, got "x"; ',
        "trip.follows.stops is missing; ",
        "also[0]: input should be an object, got 7; ",
        "seats: input should be greater than 0, got 0; ",
        "booking.trip.stops is missing; ",
        "unknown argument `when`; expected: trip, also, by_name, seats, booking",
    ):
        assert complaint in str(caught.value)


async def test_results_are_checked_and_made_into_models() -> None:
    def good() -> list[Trip | None]:
        return [{"stops": []}, None]  # type: ignore[list-item]

    def bad() -> Trip:
        return {"stops": [{"city": "secret"}]}  # type: ignore[return-value]

    def inside() -> Booking:
        return Booking(Trip(stops=[]))

    def undeclared():  # type: ignore[no-untyped-def]
        return {"trip": Trip(stops=[]), "size": Size(3)}

    assert await call(good) == [{"stops": [], "follows": None}, None]
    assert await call(inside) == {"trip": {"stops": [], "follows": None}, "note": ""}
    assert await call(undeclared) == {"trip": {"stops": [], "follows": None}, "size": {"width": 3}}
    with pytest.raises(ToolError, match=r"not of its type: result\.stops\[0\]\.at is missing\. This is") as caught:
        await call(bad)
    assert "secret" not in str(caught.value)


def test_the_output_schema_is_that_of_what_is_written() -> None:
    class Square(BaseModel):
        side: int

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def area(self) -> int:
            return self.side**2

    def square(of: Square) -> Square:
        return of

    square.__annotations__.update({"of": Square, "return": Square})
    tool = FunctionTool(square)
    assert "area" not in msgspec.json.decode(tool.definition.input_schema)["$defs"]["Square"]["properties"]
    assert "area" in msgspec.json.decode(tool.definition.output_schema)["properties"]


async def test_different_types_of_one_name_stay_apart() -> None:
    def other(name: str, base: type, **fields: Any) -> Any:
        return type(name, (base,), {"__annotations__": fields, "__module__": __name__})

    class Holder(BaseModel):
        inner: other("Stop", BaseModel, a=int)  # type: ignore[valid-type]

    def both(one: Stop, two: Holder, three: Any) -> None: ...

    both.__annotations__.update({"one": Stop, "two": Holder, "three": other("Stop", Struct, b=int)})
    schema = inputs(both)
    refs = [schema["properties"][name]["$ref"].removeprefix("#/$defs/") for name in ("one", "two", "three")]
    inner = schema["$defs"][refs[1]]["properties"]["inner"]["$ref"].removeprefix("#/$defs/")
    names = [refs[0], inner, refs[2]]
    assert len(set(names)) == 3
    assert [sorted(schema["$defs"][name]["properties"]) for name in names] == [["at", "city"], ["a"], ["b"]]


def test_a_field_in_the_place_of_a_default_is_refused() -> None:
    def search(words: str = Field(description="All of these.")) -> None: ...

    with pytest.raises(TypeError, match=r"the default of words is Pydantic's Field\(…\): write it as Annotated"):
        FunctionTool(search)


def test_a_type_that_pydantic_cannot_read_is_refused() -> None:
    def mixed(value: list[Stop | Booking]) -> None: ...

    with pytest.raises(TypeError, match="mixed cannot be a tool: parameter value: Unable to generate"):
        FunctionTool(mixed)

    def result() -> list[Stop | Booking]:
        return []

    assert msgspec.json.decode(FunctionTool(result).definition.output_schema) is None
