"""What the API takes and gives, as its OpenAPI description shows it."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    TypeAdapter,
    model_validator,
)

Point = Annotated[list[float], Field(min_length=2, max_length=3)]
# Only the first error is reported: a list of a million would take seconds and a gigabyte.
Stroke = Annotated[list[Point], FailFast()]

MAX_WORDS = 500  # characters: no text tower takes more than 77 tokens
HOUSE: dict[str, Any] = {
    "strokes": [[[20, 90], [20, 45], [50, 15], [80, 45], [80, 90], [20, 90]], [[45, 90], [45, 65]]],
    "box": [0, 0, 100, 100],
}


class _Query(BaseModel):
    """What all queries are: fields that are named, and no others."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _one_unknown_field(cls, query: Any) -> Any:
        """Leaves out unknown fields but the first: each would be an error, and one is reported."""
        if not isinstance(query, dict):
            return query
        first = next((name for name in query if name not in cls.model_fields), None)
        return {name: query[name] for name in query if name in cls.model_fields or name == first}


class DrawingQuery(_Query):
    """Pen strokes, as a query."""

    model_config = ConfigDict(json_schema_extra={"examples": [HOUSE]})

    strokes: Annotated[list[Stroke], FailFast()] = Field(
        min_length=1,
        description="The path of the pen from touch to lift, per stroke: points (x, y) or "
        "(x, y, pressure), y down, the pressure 0 to 1.",
    )
    box: tuple[float, float, float, float] = Field(
        description="Left, top, width and height of the surface, in the units of the points."
    )


class PictureQuery(_Query):
    """A picture of the gallery, as a query: more like this one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"picture": "3f2a9c"}]})

    picture: str = Field(min_length=1, max_length=200, description="Id of the picture.")


class WordsQuery(_Query):
    """Words, as a query."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"words": "a red umbrella"}]})

    words: str = Field(min_length=1, max_length=MAX_WORDS, description="What pictures show.")


def _kind(query: Any) -> str:
    """Returns what a query is, by the field that only such a one has."""
    kinds = (kind for kind in ("picture", "words") if isinstance(query, dict) and kind in query)
    return next(kinds, "strokes")


QUERY: TypeAdapter[DrawingQuery | PictureQuery | WordsQuery] = TypeAdapter(
    Annotated[
        Annotated[DrawingQuery, Tag("strokes")]
        | Annotated[PictureQuery, Tag("picture")]
        | Annotated[WordsQuery, Tag("words")],
        Discriminator(_kind),
    ]
)


class PictureSchema(BaseModel):
    """A picture of the gallery."""

    id: str = Field(description="Digest of its content.")
    label: str | None = Field(description="Name of the folder that it lies in.")
    path: str = Field(description="Path of its file on the server's machine.")
    width: int
    height: int


class FoundPictureSchema(PictureSchema):
    """A picture that was found."""

    distance: float = Field(description="Euclidean distance between features.")
    closer_than: float = Field(description="Fraction of the gallery that is further away, 0 to 1.")
    steps: Annotated[int, Field(ge=1, le=5)] = Field(
        description="How near it is by the gallery's own standard: it stands out as the nearest picture "
        "of a quarter (2), a half (3), three quarters (4) or 19 in 20 (5) of the gallery's pictures does, "
        "or less, or nothing found is near (1)."
    )


class SearchResultSchema(FoundPictureSchema):
    """A picture that was found, and those that are the same, resized or saved again."""

    duplicates: list[FoundPictureSchema] = Field(
        description="Its near-duplicates among the pictures found, nearest first."
    )


class ClassGuessSchema(BaseModel):
    """A class that the query may show."""

    name: str
    probability: float = Field(description="0 to 1.")
    label: str | None = Field(description="The gallery's label of that name, to filter by.")
    pictures: int = Field(description="Number of pictures in the gallery with that label.")


Interpretation = Literal["drawing", "photo", "picture", "words"]


class SearchResponse(BaseModel):
    """What was found."""

    results: list[SearchResultSchema] = Field(description="Nearest first.")
    nothing_near: bool = Field(
        description="Whether the results most likely have nothing to do with the query: by the gallery's "
        "own standard, none stands out much, and they are unlike each other."
    )
    guesses: list[ClassGuessSchema] = Field(
        description="By a single view: classes that the gallery has, likeliest first, then those of the "
        "likeliest that it does not have; none where a picture of the gallery is the "
        "query. POST /api/guesses has the vote of 18."
    )
    taken: Interpretation = Field(description="What the query was taken for.")
    pictures: int = Field(description="Number of pictures in the gallery.")
    milliseconds: float


class GuessesResponse(BaseModel):
    """The vote of 18 views."""

    guesses: list[ClassGuessSchema]
    milliseconds: float


class MatchMapSchema(BaseModel):
    """One of two pictures that were compared."""

    view: str = Field(description="What the network sees of it: a PNG, as a data: URL.")
    strength: list[list[int]] = Field(
        description="By row and column, 0 to 255: how well the best place of the other picture fits."
    )


class WhyResponse(BaseModel):
    """Where query and result agree, by the maps of the last convolution."""

    query: MatchMapSchema
    result: MatchMapSchema
    milliseconds: float


class HealthResponse(BaseModel):
    """What the server serves."""

    status: Literal["ok"] = "ok"
    pictures: int
    labels: int
    classes: int = Field(description="Number of classes that the network knows.")
    layer: str = Field(description="The feature that is compared.")
    query_views: Literal["one", "mirrored", "all"] = Field(
        description="What a drawing or photo is searched by: one view, that and its mirror image, or 18."
    )
    words: bool = Field(description="Whether words are understood.")
    expectation: str = Field(description="What may be expected of the network, in one sentence.")


class ErrorResponse(BaseModel):
    """What is wrong with a request, in one line."""

    detail: str
    code: Literal["unknown_label"] | None = Field(
        None, description="Set where the gallery has no picture of a label that is asked for."
    )
