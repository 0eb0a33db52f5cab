"""Our API: what a client asks is what the studio draws, and every knob of ours is there."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from starlette.testclient import TestClient

from underdraw import images
from underdraw.annotators import ANNOTATORS, extract, knobs
from underdraw.annotators.keypoints import BODY
from underdraw.apps.server.checking import overlay, recipe_in
from underdraw.apps.server.service import Service
from underdraw.generation import PRESETS, SCHEDULERS, ControlRequest, Drawing, Guide, PictureRequest, Studio

from .conftest import LIMITS, Live, as_base64, listening, wait_for

QUICK = {"steps": 2, "stream": False}


def drawn(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/generate", json=QUICK | asked)
    assert answer.status_code == 200, answer.text
    pictures: list[dict[str, Any]] = answer.json()["pictures"]
    return pictures


def decoded(text: str) -> torch.Tensor:
    return images.decode(base64.b64decode(text), "answer")[0]


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream."""
    parts = [part.split("\n", 1) for part in text.strip().split("\n\n") if part != ": alive"]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def same(picture: dict[str, Any], expected: torch.Tensor) -> None:
    assert torch.equal(decoded(picture["picture"]), images.from_uint8(images.to_uint8(expected)))


def test_what_the_studio_draws(client: TestClient, studio: Studio, disc: torch.Tensor, sent: str) -> None:
    """Prompt, negative, seed, scheduler, guidance, two controls with their ways of being heard, to the bit."""
    (picture,) = drawn(
        client,
        prompt="a disc",
        negative="squares",
        seed=7,
        steps=3,
        guidance=3.0,
        scheduler="euler",
        controls=[
            {"kind": "canny", "picture": sent, "weight": 0.7, "end": 0.8, "preset": "Guess Mode"},
            {"kind": "depth", "picture": sent, "is_map": True, "mask": sent, "curve": "soft"},
        ],
    )
    controls = [
        ControlRequest("canny", disc, weight=0.7, end=0.8, preset="guess mode"),
        ControlRequest("depth", disc, is_map=True, mask=disc, curve="soft"),
    ]
    (expected,) = studio.draw(
        "a disc", negative="squares", seeds=[7], steps=3, guidance=3.0, scheduler="euler", controls=controls
    )
    same(picture, expected.picture)
    assert recipe_in(base64.b64decode(picture["picture"])) == expected.drawing
    assert picture["recipe"]["controls"][0]["map"] == "" and picture["recipe"]["seed"] == 7


def test_a_picture_to_start_from(client: TestClient, studio: Studio, disc: torch.Tensor, sent: str) -> None:
    image = {"picture": sent, "strength": 0.6, "mask": sent, "expand": [0, 0, 16, 0], "softness": 2}
    (picture,) = drawn(client, prompt="x", seed=1, steps=5, image=image, variation={"seed": 3, "strength": 0.2})
    request = PictureRequest(disc, 0.6, disc, (0, 0, 16, 0), 2)
    from underdraw.generation import Wish, plan_each

    settings = {"steps": 5, "variation": {"seed": 3, "strength": 0.2}}
    recipes = plan_each(studio, Wish(("x",), picture=request, settings=settings), [1])
    assert recipe_in(base64.b64decode(picture["picture"])) == recipes[0]
    assert (picture["recipe"]["width"], picture["recipe"]["height"]) == (48, 32)


def test_turned_knobs_make_the_map(client: TestClient, disc: torch.Tensor, sent: str) -> None:
    told: dict[str, Any] = {"low": 20, "high": 40}
    (picture,) = drawn(
        client, prompt="x", width=32, height=32, controls=[{"kind": "canny", "picture": sent, "knobs": told}]
    )
    guide = recipe_in(base64.b64decode(picture["picture"])).controls[0]
    assert torch.equal(decoded(guide.map)[:1], extract("canny", disc[None], **told)[0])


def test_a_stream(client: TestClient) -> None:
    """queued, then a frame a step with previews now and then, the pictures, and the end."""
    answer = client.post("/v1/generate", json={"prompt": "x", "count": 2, "seed": 5, "steps": 4, "previews": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    names = [name for name, _ in told]
    assert names[0] == "queued" and names[-1] == "done"
    assert names.count("frame") == 8 and names.count("picture") == 2
    frames = [part for name, part in told if name == "frame" and part["picture"] == 0]
    assert [part["step"] for part in frames] == [1, 2, 3, 4] and [bool(part["preview"]) for part in frames] == [
        0,
        1,
        0,
        0,
    ]
    assert decoded(frames[1]["preview"]).shape == (3, 32, 32)
    assert {part["recipe"]["seed"] for name, part in told if name == "picture"} == {5, 6}
    assert len({part["id"] for _, part in told}) == 1 and told[-1][1]["pictures"] == 2


def test_a_rounded_size_is_told(client: TestClient) -> None:
    answer = client.post("/v1/generate", json=QUICK | {"prompt": "x", "width": 50, "height": 40})
    assert "50x40 becomes 48x40" in answer.json()["notes"][0]


def test_a_few_step_preset(client: TestClient) -> None:
    (picture,) = drawn(client, prompt="x", preset="lcm", steps=None)
    assert (picture["recipe"]["scheduler"], picture["recipe"]["steps"]) == ("lcm", 6)
    (picture,) = drawn(client, prompt="x", preset="lcm")
    assert (picture["recipe"]["scheduler"], picture["recipe"]["steps"]) == ("lcm", 2)


def test_a_failure_in_a_stream_is_its_last_event(client: TestClient) -> None:
    """What only the sampler finds out: a second pass of no steps."""
    asked = {"prompt": "x", "steps": 1, "hires": {"strength": 0.01}}
    name, part = events(client.post("/v1/generate", json=asked).text)[-1]
    assert name == "error" and part["detail"] and "\n" not in part["detail"]
    answer = client.post("/v1/generate", json=asked | {"stream": False})
    assert answer.status_code == 422 and answer.json()["detail"] == part["detail"]


def test_extract(client: TestClient, disc: torch.Tensor, sent: str) -> None:
    answer = client.post("/v1/extract", json={"kind": "canny", "picture": f"data:image/png;base64,{sent}"}).json()
    assert (answer["width"], answer["height"]) == (32, 32)
    assert torch.equal(decoded(answer["map"])[:1], extract("canny", disc[None])[0])
    sized = client.post("/v1/extract", json={"kind": "softedge", "picture": sent, "width": 48, "height": 24}).json()
    assert decoded(sized["map"]).shape == (3, 24, 48)


def test_poses_there_and_back(client: TestClient) -> None:
    points = [(64 + 3 * place, 20 + 5 * place, 1.0) for place in range(len(BODY))]
    person = {"pose_keypoints_2d": [value for point in points for value in point]}
    poses = {"people": [person], "canvas_width": 128, "canvas_height": 128}
    answer = client.post("/v1/pose", json={"poses": poses}).json()
    assert (answer["width"], answer["height"]) == (128, 128)
    shown = decoded(answer["map"])
    assert torch.equal(shown, ANNOTATORS["pose"]().map(_read(poses))[0])
    back = client.post("/v1/pose/read", json={"picture": answer["map"]}).json()["poses"]
    assert back["canvas_width"] == 128 and len(back["people"]) == 1
    assert client.post("/v1/pose", json={"poses": {"people": 3}}).status_code == 422


def _read(poses: dict[str, Any]) -> Any:
    from underdraw.annotators.keypoint_files import from_openpose

    return from_openpose(poses, "poses")[0]


def test_restore(client: TestClient, sent: str) -> None:
    control = {"kind": "canny", "picture": sent, "weight": 0.5}
    (picture,) = drawn(client, prompt="a disc", seed=3, controls=[control])
    answer = client.post("/v1/restore", json={"picture": picture["picture"]}).json()
    assert answer["same_weights"] and answer["other"] is None
    recipe = Drawing.model_validate(answer["recipe"])
    assert (recipe.prompt, recipe.seed, recipe.controls[0].weight) == ("a disc", 3, 0.5)
    again = {"kind": "canny", "picture": recipe.controls[0].map, "is_map": True, "weight": 0.5}
    (second,) = drawn(client, prompt=recipe.prompt, seed=recipe.seed, controls=[again])
    assert torch.equal(decoded(second["picture"]), decoded(picture["picture"]))
    assert "no underdraw recipe" in client.post("/v1/restore", json={"picture": sent}).json()["detail"]


def test_restore_of_other_weights(client: TestClient) -> None:
    (picture,) = drawn(client, prompt="x")
    recipe = recipe_in(base64.b64decode(picture["picture"]))
    for change in ({"base_hash": "0" * 16}, {"controls": (Guide(kind="softedge", map=""),)}):
        other = recipe.model_copy(update=change)
        data = images.encode_png(decoded(picture["picture"]), {"underdraw": other.model_dump_json()})
        answer = client.post("/v1/restore", json={"picture": base64.b64encode(data).decode()}).json()
        assert not answer["same_weights"] and answer["other"]


def test_obedience(client: TestClient, disc: torch.Tensor, sent: str) -> None:
    """A picture obeys its own edges, and not those of another; what cannot be seen is told."""
    own = as_base64(extract("canny", disc[None])[0])
    other = as_base64(extract("canny", disc.flip(2).roll(7, 1)[None])[0])
    maps = [{"kind": "canny", "map": own}, {"kind": "canny", "map": other}, {"kind": "depth", "map": own}]
    good, bad, unseen = client.post("/v1/obedience", json={"picture": sent, "controls": maps}).json()["controls"]
    assert good["measure"] == "F1 at 1 px" and good["score"] == 1 and bad["score"] < 0.8
    reds = [(decoded(each["overlay"])[0] - decoded(each["overlay"])[1]).sum() for each in (good, bad)]
    assert reds[0] == 0 and reds[1] > 5
    assert unseen["score"] is None and "depth" in unseen["detail"]
    (picture,) = drawn(client, prompt="x", controls=[{"kind": "canny", "picture": sent}])
    (found,) = client.post("/v1/obedience", json={"picture": picture["picture"]}).json()["controls"]
    assert found["kind"] == "canny" and 0 <= found["score"] <= 1


def test_the_overlay() -> None:
    drawn_map, truth = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    truth[..., 2, :], drawn_map[..., 3, :5], drawn_map[..., 7, :] = 1, 1, 1
    seen = overlay(drawn_map, truth, lines=True)
    assert (seen[:, 2, :5] == 1).all(), "a pixel beside is near enough"
    assert (seen[0, 2, 7:] == 1).all() and (seen[1, 2, 7:] < 0.2).all(), "missing is red"
    assert (seen[0, 7] > 0.5).all() and (seen[1, 7] < 0.1).all(), "stray is a darker red"
    field = torch.full((1, 1, 9, 9), 0.5)
    assert torch.equal(overlay(field, field, lines=False), torch.full((3, 9, 9), 0.4))


def test_a_grid(client: TestClient, studio: Studio) -> None:
    axes = [{"name": "seed", "values": ["1", "2", "3"]}, {"name": "cfg", "values": ["1", "4"]}]
    answer = client.post("/v1/grid", json=QUICK | {"prompt": "x", "axes": axes}).json()
    assert [(each["recipe"]["guidance"], each["recipe"]["seed"]) for each in answer["pictures"]] == [
        (guidance, seed) for guidance in (1, 4) for seed in (1, 2, 3)
    ]
    (expected,) = studio.draw("x", seeds=[2], steps=2, guidance=4.0)
    torch.testing.assert_close(decoded(answer["pictures"][4]["picture"]), expected.picture, rtol=0, atol=1.01 / 255)
    assert decoded(answer["sheet"]).shape[-1] > 3 * 96
    told = events(client.post("/v1/grid", json={"prompt": "x", "steps": 1, "axes": axes[:1]}).text)
    assert [name for name, _ in told][-2:] == ["sheet", "done"] and told[-2][1]["columns"] == 3
    for bad in ({"name": "magic", "values": ["1"]}, {"name": "steps", "values": ["x"]}, {"name": "seed", "values": []}):
        assert client.post("/v1/grid", json={"prompt": "x", "axes": [bad]}).status_code == 422
    many = {"name": "seed", "values": [str(place) for place in range(64)]}
    assert client.post("/v1/grid", json={"prompt": "x", "axes": [many, axes[1]]}).status_code == 422


def test_lists_come_from_the_parts(client: TestClient, studio: Studio) -> None:
    told = client.get("/v1/models").json()
    assert told["base"] | {"name": "tiny", "width": 32, "height": 32, "unit": 8, "hash": studio.hash} == told["base"]
    assert told["limits"]["count"] == LIMITS.count
    controls = client.get("/v1/controls").json()["controls"]
    assert [each["kind"] for each in controls] == ["canny", "depth"]
    assert controls[1]["annotators"][0] == "depth" and "depth_midas" in controls[1]["annotators"]
    annotators = {each["kind"]: each for each in client.get("/v1/annotators").json()["annotators"]}
    assert list(annotators) == ANNOTATORS.names()
    for kind, each in annotators.items():
        assert [knob["name"] for knob in each["knobs"]] == list(knobs(ANNOTATORS[kind])) and each["about"]
    low = next(knob for knob in annotators["canny"]["knobs"] if knob["name"] == "low")
    assert (low["type"], low["low"], low["high"], low["step"]) == ("int", 0, 255, 1) and low["help"]
    assert annotators["canny"]["pictures"] and not annotators["pose"]["pictures"]
    assert any(label["name"] == "wall" for label in annotators["segmentation"]["labels"])
    assert set(client.get("/v1/presets").json()["control"]) == set(PRESETS.names())
    assert len(client.get("/v1/schedulers").json()["schedulers"]) == len(SCHEDULERS.names())


def test_the_schema_is_that_of_recipes(client: TestClient) -> None:
    parts = client.get("/openapi.json").json()["components"]["schemas"]
    steps = parts["Generate"]["properties"]["steps"]["anyOf"][0]
    assert steps["minimum"] == 1 and "hires" in parts["Generate"]["properties"]
    assert {"curve", "side", "times", "scale"} <= set(parts["Control"]["properties"])


@pytest.fixture(scope="module")
def live(studio: Studio) -> Any:
    with listening(studio) as server:
        yield server


LONG = {"prompt": "x", "steps": 400, "width": 96, "height": 96}


def test_who_goes_away_is_cancelled(live: Live) -> None:
    queue = live.service.queue
    with httpx2.stream("POST", f"{live.address}/v1/generate", json=LONG) as stream:
        next(stream.iter_lines())
        assert queue.jobs
    wait_for(lambda: not queue.jobs)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{live.address}/v1/generate", json=LONG | {"count": 8, "stream": False}, timeout=0.3)
    wait_for(lambda: not queue.jobs)
    assert queue.metrics.value("cancelled_total") == 2


def test_cancel_by_id(live: Live) -> None:
    """The stream ends; what there is of it comes, if it is wanted."""
    for keep in (False, True):
        with httpx2.stream("POST", f"{live.address}/v1/generate", json=LONG, timeout=30) as stream:
            lines = stream.iter_lines()
            text = ""
            while '"step": 2' not in text:
                text += next(lines) + "\n"
            (mine,) = httpx2.get(f"{live.address}/v1/queue").json()["mine"]
            assert mine["state"] == "drawing" and mine["steps"] == 400
            answer = httpx2.post(f"{live.address}/v1/cancel/{mine['id']}", json={"keep": keep})
            assert answer.json() == {"cancelled": True}
            told = events(text + "\n".join(lines))
        assert told[-1][0] == "done"
        stopped = [part["stopped"] for name, part in told if name == "picture"]
        assert (len(stopped) == 1 and 0 < stopped[0] < 400) if keep else (not stopped and told[-1][1]["cancelled"])
    assert httpx2.post(f"{live.address}/v1/cancel/nothing").status_code == 404


def test_the_queue_is_bounded(studio: Studio) -> None:
    """429 with a time to come again; who waits is served all the same."""
    from dataclasses import replace

    with listening(studio, replace(LIMITS, queue=4)) as live:
        assert httpx2.post(f"{live.address}/v1/generate", json=QUICK | {"prompt": "x", "count": 2}).status_code == 200
        answer = httpx2.post(f"{live.address}/v1/generate", json=QUICK | {"prompt": "x", "count": 3})
        assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
        assert "try again" in answer.json()["detail"]


def test_figures(client: TestClient) -> None:
    drawn(client, prompt="x")
    text = client.get("/metrics").text
    assert 'underdraw_requests_total{route="/v1/generate",status="200"}' in text
    assert "# TYPE underdraw_waiting gauge" in text and "underdraw_pictures_total" in text


def test_pictures_are_kept(studio: Studio, tmp_path: Path) -> None:
    from underdraw.apps.server.app import build_app
    from underdraw.generation import read_drawing

    with TestClient(build_app(Service(studio, LIMITS, tmp_path / "kept")), base_url="http://localhost") as client:
        drawn(client, prompt="kept", count=2, seed=4)
    assert sorted(read_drawing(path).seed for path in (tmp_path / "kept").glob("*.png")) == [4, 5]
