"""What the API takes and gives, as its OpenAPI description shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

Point = tuple[float, float]
# The first error is told alone: a list of a million would take seconds and a gigabyte.
Stroke = Annotated[list[Point], FailFast()]

HOUSE: dict[str, Any] = {
    "strokes": [[[20, 90], [20, 45], [50, 15], [80, 45], [80, 90], [20, 90]], [[45, 90], [45, 65]]],
    "box": [0, 0, 100, 100],
}


class Drawing(BaseModel):
    """Pen strokes, as a query."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [HOUSE]})

    strokes: Annotated[list[Stroke], FailFast()] = Field(
        min_length=1,
        description="Each the pen's way from touch to lift: points (x, y), y down.",
    )
    box: tuple[float, float, float, float] = Field(
        description="Left, top, width and height of the surface, in the units of the points."
    )


class Stored(BaseModel):
    """A picture of the gallery, as a query: more like this one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"picture": "3f2a9c"}]}
    )

    picture: str = Field(min_length=1, max_length=200, description="Its id.")


class Listed(BaseModel):
    """A picture of the gallery."""

    id: str = Field(description="Digest of its content.")
    label: str | None = Field(description="The folder that it lies in.")
    path: str = Field(description="Where it lies on the server's machine.")
    width: int
    height: int


class Found(Listed):
    """A picture that was found."""

    distance: float = Field(description="Euclidean, between features.")
    closer_than: float = Field(description="Share of the gallery that is further away, 0 to 1.")
    steps: Annotated[int, Field(ge=1, le=5)] = Field(
        description="How far it stands out: 1 usual for this query, then 2, 3, 4, 5 deviations closer."
    )


class Guessed(BaseModel):
    """A class that the query may show."""

    name: str
    probability: float = Field(description="0 to 1.")
    label: str | None = Field(description="The gallery's label of that name, to filter by.")
    pictures: int = Field(description="How many pictures of the gallery have that label.")


Taken = Literal["drawing", "photo", "picture"]


class SearchAnswer(BaseModel):
    """What was found."""

    results: list[Found] = Field(description="Nearest first.")
    guesses: list[Guessed] = Field(
        description="By a single view, likeliest first; none where a picture of the gallery is the "
        "query. POST /api/guesses has the vote of 18."
    )
    taken: Taken = Field(description="What the query was taken for.")
    pictures: int = Field(description="How many pictures the gallery holds.")
    milliseconds: float


class GuessAnswer(BaseModel):
    """The vote of 18 views."""

    guesses: list[Guessed]
    milliseconds: float


class Side(BaseModel):
    """One of two pictures that were compared."""

    view: str = Field(description="What the network sees of it: a PNG, as a data: URL.")
    strength: list[list[int]] = Field(
        description="By row and column, 0 to 255: how well the best place of the other picture fits."
    )


class WhyAnswer(BaseModel):
    """Where query and result agree, by the maps of conv5."""

    query: Side
    result: Side
    milliseconds: float


class Health(BaseModel):
    """Of the server."""

    status: Literal["ok"] = "ok"
    pictures: int
    labels: int
    classes: int = Field(description="How many the network knows.")
    layer: str = Field(description="The feature that is compared.")


class Refusal(BaseModel):
    """What is wrong with a request, in one line."""

    detail: str
