"""People rank blind; their answers are kept whole and summed up with intervals."""

import base64
import json
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from underdraw import images
from underdraw.apps.server.app import build_app
from underdraw.apps.server.ranking import Survey
from underdraw.apps.server.service import Service
from underdraw.errors import InputError
from underdraw.evaluation.ranking import rankings, read_answers
from underdraw.generation import Studio

from ..conftest import Underdraw
from .conftest import LIMITS, LOCAL

METHODS = {"ours": 0.9, "peer": 0.5, "random": 0.1}
"""By how bright their pictures are."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sets of three methods."""
    for place in range(4):
        for method, grey in METHODS.items():
            text = {"parameters": f"a picture by {method}"}
            images.write(torch.full((3, 16, 16), grey), tmp_path / "sets" / f"set{place}" / f"{method}.png", text)
        images.write(torch.zeros(1, 16, 16), tmp_path / "sets" / f"set{place}" / "map.png")
        (tmp_path / "sets" / f"set{place}" / "prompt.txt").write_text(f"prompt {place}\n")
    (tmp_path / "sets" / "empty").mkdir()
    return tmp_path / "sets"


def test_a_person_ranks_all(studio: Studio, folder: Path) -> None:
    """Each set once, shuffled, without names; answers come back under the right method."""
    survey = Survey(folder)
    with TestClient(build_app(Service(studio, LIMITS, survey=survey)), base_url=LOCAL) as client:
        assert client.get("/v1/models").json()["rank"]
        person, prompts, orders = "", [], set()
        for left in (3, 2, 1, 0):
            page = client.get("/v1/rank", params={"person": person}).json()
            assert "ours" not in json.dumps({name: page[name] for name in page if name != "pictures"})
            person = page["person"]
            data = [base64.b64decode(picture) for picture in page["pictures"]]
            assert not any(b"picture by" in each for each in data)
            greys = [float(images.decode(each, "picture").mean()) for each in data]
            orders.add(tuple(round(grey, 1) for grey in greys))
            scores = [{"quality": 5 if grey > 0.8 else 3 if grey > 0.3 else 1, "obedience": 2} for grey in greys]
            answer = {"page": page["page"], "scores": scores}
            assert client.post("/v1/rank", json=answer).json() == {"left": left}
            assert client.post("/v1/rank", json=answer).status_code == 409
            prompts.append(page["prompt"])
        assert sorted(prompts) == [f"prompt {place}" for place in range(4)]
        assert client.get("/v1/rank", params={"person": person}).json()["page"] is None
    for answered in read_answers(folder / "answers.jsonl"):
        assert {name: score["quality"] for name, score in answered.scores.items()} == {
            "ours": 5,
            "peer": 3,
            "random": 1,
        }
    assert Survey(folder).left(person) == 0, "answers outlive the server"


def test_wrong_answers(studio: Studio, folder: Path) -> None:
    with TestClient(build_app(Service(studio, LIMITS, survey=Survey(folder))), base_url=LOCAL) as client:
        page = client.get("/v1/rank").json()["page"]
        good = {"quality": 3, "obedience": 3}
        for scores in ([good], [good, good, {"quality": 6, "obedience": 1}], [{"quality": 1}] * 3, []):
            assert client.post("/v1/rank", json={"page": page, "scores": scores}).status_code == 422
        assert client.post("/v1/rank", json={"page": "another", "scores": [good] * 3}).status_code == 409
        assert client.get("/v1/rank", params={"person": "../../etc"}).status_code == 422
    assert not (folder / "answers.jsonl").exists()


def test_nothing_to_rank(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/v1/rank").status_code == 404
    with pytest.raises(InputError, match="holds nothing to rank"):
        Survey(tmp_path)


def test_orders_and_sets_are_spread(folder: Path) -> None:
    """No method has a place of its own, and no set is shown much more often than another."""
    survey = Survey(folder)
    pages = [survey.show(survey.newcomer()) for _ in range(300)]
    firsts = Counter(page.methods[0].stem for page in pages if page)
    assert min(firsts.values()) > 60
    for place in range(8):
        page = survey.show(f"person {place}")
        assert page is not None
        survey.answer(page.id, [{"quality": 1, "obedience": 1}] * 3)
    assert Counter(answer.set for answer in read_answers(survey.answers)) == {f"set{place}": 2 for place in range(4)}


def test_answers_of_many_at_once_are_whole(folder: Path) -> None:
    survey = Survey(folder)

    def rank(person: str) -> None:
        while page := survey.show(person):
            survey.answer(page.id, [{"quality": 4, "obedience": 2}] * 3)

    threads = [threading.Thread(target=rank, args=(f"person {place}",)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(read_answers(survey.answers))) == 32


def _write(path: Path, *quality: tuple[int, int]) -> None:
    lines = [
        {
            "person": f"p{place}",
            "set": "s",
            "scores": {"a": {"quality": a, "obedience": 3}, "b": {"quality": b, "obedience": 1}},
        }
        for place, (a, b) in enumerate(quality)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_means_with_intervals(tmp_path: Path) -> None:
    _write(tmp_path / "answers.jsonl", (5, 1), (4, 2), (5, 3), (4, 2))
    first, second = rankings(read_answers(tmp_path / "answers.jsonl"))
    assert (first.method, first.answers, first.people, second.method) == ("a", 4, 4, "b")
    assert first.quality.value == 4.5 and 4 <= first.quality.low < 4.5 < first.quality.high <= 5
    assert first.obedience.low == first.obedience.high == 3 and second.quality.value == 2


def test_evaluate_ranking(underdraw: Underdraw, tmp_path: Path) -> None:
    _write(tmp_path / "answers.jsonl", (5, 1), (4, 2))
    done = underdraw("evaluate", "ranking", tmp_path / "answers.jsonl")
    assert done.code == 0 and "| a | 2 | 2 | 4.50 [4.00, 5.00] | 3.00 [3.00, 3.00] |" in done.out
    done = underdraw("evaluate", "ranking", tmp_path / "answers.jsonl", "--json")
    assert json.loads(done.out)["ranking"][1]["method"] == "b"
    for line in ("{", '{"person": "p", "set": "s", "scores": {"a": {"quality": 6, "obedience": 1}}}'):
        (tmp_path / "bad.jsonl").write_text(line + "\n")
        done = underdraw("evaluate", "ranking", tmp_path / "bad.jsonl")
        assert done.code == 2 and "line 1" in done.err
    assert underdraw("evaluate", "ranking").code == 2
    assert underdraw("evaluate", "somewhere").code == 2
