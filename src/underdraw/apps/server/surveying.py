"""Our API: people rank pictures."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field

from underdraw.apps.server.ranking import Page, Survey
from underdraw.apps.server.service import Shared, as_text
from underdraw.config import Config

__all__ = ["routes"]

routes = APIRouter(prefix="/v1", tags=["rank"])
Score = Annotated[int, Field(ge=1, le=5)]


class ScoreAsked(Config):
    """What a person says of one picture: 1 is worst."""

    quality: Score
    obedience: Score


class AnswerAsked(Config):
    """Scores of the pictures of a page, in the order shown."""

    page: str = Field(max_length=64)
    scores: tuple[ScoreAsked, ...] = Field(max_length=64)


@routes.get("/rank")
async def show(service: Shared, person: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{0,32}$")] = "") -> dict[str, Any]:
    """Pictures to rank, shuffled and without names."""
    return await service.aside(_shown, _survey(service.survey), person)


@routes.post("/rank")
async def answer(asked: AnswerAsked, service: Shared) -> dict[str, int]:
    """Keep what a person said of a page."""
    survey = _survey(service.survey)
    page = await service.aside(survey.answer, asked.page, [score.model_dump() for score in asked.scores])
    if page is None:
        raise HTTPException(409, "this page was answered already, or is too old")
    return {"left": survey.left(page.person)}


def _survey(survey: Survey | None) -> Survey:
    if survey is None:
        raise HTTPException(404, "there is nothing to rank here; start the server with --rank FOLDER")
    return survey


def _shown(survey: Survey, person: str) -> dict[str, Any]:
    person = person or survey.newcomer()
    page = survey.show(person)
    told = {"person": person, "left": survey.left(person), "page": None}
    return told if page is None else told | _pictures(page)


def _pictures(page: Page) -> dict[str, Any]:
    shown = page.map
    return {
        "page": page.id,
        "prompt": page.prompt,
        "map": None if shown is None else as_text(shown),
        "pictures": [as_text(picture) for picture in page.pictures],
    }
