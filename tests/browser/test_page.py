"""What an artist does, with the mouse, the keys and a phone, against a real server."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import extract
from underdraw.annotators.measures import edge_scores
from underdraw.generation import read_drawing

from .conftest import DRAWN, TOKEN, Open, Sheet, pixels

PHOTO = Path(__file__).parents[2] / "examples" / "pictures" / "photographs" / "cat.jpg"
PAGE = Path(__file__).parents[2] / "src" / "underdraw" / "apps" / "server" / "page"
pytestmark = pytest.mark.browser
HEAVIEST = 300_000
RADIUS = 0.3
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def ring(side: int, radius: float) -> Tensor:
    """A circle one pixel wide, 1×1×side×side, `radius` in shares of the side."""
    place = (torch.arange(side) + 0.5) / side - 0.5
    far = (place[:, None] ** 2 + place**2).sqrt()
    return ((far - radius).abs() < 0.5 / side).float()[None, None]


def obeys(picture: Tensor, circle: Tensor) -> float:
    """F1 at 1 px of a picture's edges against a circle."""
    return float(edge_scores(extract("canny", picture[None]), circle).f1)


def test_a_drawn_circle_becomes_a_picture(sheet: Sheet) -> None:
    """Scribble, words, button: the edges of what is drawn follow the hand; without the control they do not."""
    sheet.page.fill("[name=seed]", "7")
    sheet.page.fill("#prompt", "a green apple, 3d sticker")
    sheet.circle(RADIUS)
    sheet.chosen("scribble")
    sheet.until_map(lambda found: obeys_map(found) > 0.9)
    body = sheet.paint()
    assert [(one["kind"], one["is_map"]) for one in body["controls"]] == [("canny", True)]
    drawn = pixels(sheet.saved("#actions .icon-button >> nth=0"))
    assert drawn.shape == (3, 64, 64)
    sheet.page.click(".layer.chosen [aria-label='On or off']")
    assert sheet.paint()["controls"] == []
    alone = pixels(sheet.saved("#actions .icon-button >> nth=0"))
    circle = ring(64, RADIUS)
    assert obeys(drawn, circle) > 0.75
    assert obeys(drawn, circle) > obeys(alone, circle) + 0.25


def obeys_map(found: Tensor) -> float:
    return float(edge_scores(found[None, :1], ring(64, RADIUS)).f1)


def test_the_map_follows_the_knobs_and_can_be_painted_on(sheet: Sheet) -> None:
    sheet.page.set_input_files("#picture-file", PHOTO)
    busy = sheet.until_map(lambda found: bool(found.mean() > 0.05))
    assert sheet.page.input_value(".layer.chosen select[name=kind]") == "canny"
    for high in ("230", "240", "255"):  # older questions are called off, the last one counts
        sheet.page.fill("[name=knob-high]", high)
    calm = sheet.until_map(lambda found: bool(found.mean() < 0.9 * busy.mean()))
    expected = extract("canny", images.read(PHOTO), (64, 64), high=255)
    assert edge_scores(calm[None, :1], expected).f1 > 0.9
    sheet.page.click("#views [data-view=map]")
    sheet.page.click("#tools [aria-label='Eraser (E)']")
    sheet.page.fill("[name=brush-size]", "120")
    sheet.stroke((0.1, 0.5), (0.9, 0.5))
    erased = sheet.map()
    assert erased[:, 28:36, 8:56].sum() == 0 < calm[:, 28:36, 8:56].sum()
    sheet.page.keyboard.press("Control+z")
    assert torch.equal(sheet.until_map(lambda found: bool(found[:, 28:36, 8:56].sum() > 0)), calm)


HANDED = """([text, what]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "cat.jpg", { type: "image/jpeg" }));
  const event = { bubbles: true, cancelable: true, dataTransfer: files, clipboardData: files };
  document.dispatchEvent(what === "drop" ? new DragEvent("drop", event) : new ClipboardEvent("paste", event));
}"""
"""A file is dropped on the page, or pasted."""


@pytest.mark.parametrize("way", ["drop", "paste", "camera"])
def test_pictures_come_in_every_way(sheet: Sheet, way: str) -> None:
    if way == "camera":
        sheet.page.click(".layer.chosen button >> text=Camera")
        sheet.page.wait_for_timeout(500)
        sheet.page.click("#shutter")
    else:
        sheet.page.evaluate(HANDED, [base64.b64encode(PHOTO.read_bytes()).decode(), way])
    sheet.until_map(lambda found: bool(found.mean() > 0.01))
    assert sheet.page.input_value(".layer.chosen select[name=kind]") == "canny"


def test_a_file_that_is_no_picture_is_told(sheet: Sheet, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    sheet.page.set_input_files("#picture-file", tmp_path / "notes.png")
    assert sheet.page.wait_for_selector(".toast").inner_text() == "notes.png is no picture that can be read."


def test_a_pose_is_edited(sheet: Sheet, tmp_path: Path) -> None:
    """Joints are dragged, people come and go, OpenPose's JSON goes out and comes in again."""
    sheet.chosen("pose")
    sheet.page.click("#tools [aria-label='Add a person']")
    sheet.stroke((0.64, 0.54), (0.8, 0.3), (0.9, 0.1))
    poses = json.loads(sheet.saved("#tools [aria-label='OpenPose JSON out']").read_text())
    (person,) = poses["people"]
    left_wrist = person["pose_keypoints_2d"][21:24]
    assert left_wrist == pytest.approx([0.9 * 64, 0.1 * 64, 1], abs=1)
    assert sheet.map()[:, :10, 52:].max() > 0.3  # the hand is up there
    sheet.page.click("#tools [aria-label='Add a person']")
    sheet.page.click("#tools [aria-label='Mirror']")
    sheet.page.click("#tools [aria-label='Undo (Ctrl Z)']")
    sheet.page.locator("#stage").focus()
    sheet.page.keyboard.press("Delete")
    both = json.loads(sheet.saved("#tools [aria-label='OpenPose JSON out']").read_text())
    assert len(both["people"]) == 2 and both["people"][0] == person
    assert both["people"][1]["pose_keypoints_2d"][:3] == [0, 0, 0]  # its nose was in hand, and is hidden
    file = tmp_path / "people.json"
    file.write_text(json.dumps(poses))
    sheet.page.set_input_files("#pose-file", file)
    sheet.until_map(lambda found: bool(found[:, :10, 52:].max() > 0.3 and found[:, 30:, 52:].max() == 0))


def test_a_png_restores_everything(visit: Open, tmp_path: Path) -> None:
    """On another page, with another browser's memory, our own picture draws itself again, to the pixel."""
    sheet = visit()
    sheet.circle(0.25)
    sheet.until_map(lambda found: bool(found.mean() > 0.02))
    for selector, value in {
        "#prompt": "一个蓝色的球",
        "[name=seed]": "11",
        "[name=steps]": "6",
        "[name=guidance]": "3",
    }.items():
        sheet.page.fill(selector, value)
    sheet.page.fill(".layer.chosen [name=weight]", "0.8")
    sheet.page.select_option("[name=scheduler]", "euler")
    sheet.paint()
    file = tmp_path / "picture.png"
    file.write_bytes(sheet.saved("#actions .icon-button >> nth=0").read_bytes())
    recipe = read_drawing(file)
    other = visit()
    other.page.set_input_files("#picture-file", file)
    other.page.wait_for_selector(".toast")
    assert other.page.input_value("#prompt") == "一个蓝色的球"
    assert torch.equal(other.map(), sheet.map())
    body = other.paint()
    assert (body["seed"], body["steps"], body["guidance"], body["scheduler"]) == (11, 6, 3, "euler")
    assert body["controls"][0]["weight"] == 0.8 == recipe.controls[0].weight
    again = pixels(other.saved("#actions .icon-button >> nth=0"))
    assert torch.equal(again, pixels(file))


def test_a_drawing_is_called_off(sheet: Sheet, address: str) -> None:
    sheet.page.fill("#prompt", "a house")
    sheet.page.fill("[name=steps]", "60")
    sheet.page.fill("[name=count]", "8")
    sheet.asked(lambda: sheet.page.keyboard.press("Control+Enter"))
    sheet.page.wait_for_selector("#news >> text=/of 60/", timeout=DRAWN)
    sheet.page.keyboard.press("Escape")
    sheet.page.wait_for_selector("#go:not(.running)")
    assert sheet.page.locator(".toast").all_inner_texts() == ["Stopped."]
    assert sheet.page.locator("#gallery .picture").count() == 0
    queue = sheet.page.request.get(f"{address}v1/queue", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert queue["waiting"] == 0 and queue["mine"] == []


def test_several_controls_are_layers(sheet: Sheet) -> None:
    """Weight, span, mask, preset and order reach the server as they are set; what is off does not."""
    sheet.circle()
    sheet.until_map(lambda found: bool(found.mean() > 0.02))
    sheet.page.click("#views [data-view=mask]")
    sheet.stroke((0.05, 0.2), (0.45, 0.2))
    sheet.page.click("#add-layer")
    sheet.chosen("depth")
    sheet.page.fill("[name=brush-size]", "120")
    sheet.stroke((0.5, 0.2), (0.5, 0.8))
    sheet.page.fill(".layer.chosen [name=weight]", "0.6")
    sheet.page.fill(".layer.chosen [aria-label='Heard from']", "0.2")
    sheet.page.fill(".layer.chosen [aria-label='Heard until']", "0.7")
    sheet.page.select_option(".layer.chosen [name=preset]", "guess mode")
    sheet.page.fill("[name=steps]", "2")
    depth, canny = sheet.paint()["controls"]
    assert [depth[name] for name in ("kind", "weight", "start", "end", "preset")] == [
        "depth",
        0.6,
        0.2,
        0.7,
        "guess mode",
    ]
    assert depth["mask"] is None
    mask = images.decode(base64.b64decode(canny["mask"]), "the mask")[0, 0]
    assert mask[12, 5:27].min() > 0.9 and mask[:, 40:].max() == 0
    sheet.page.click(".layer.chosen [aria-label='Down']")
    sheet.page.click(".layer.chosen [aria-label='On or off']")
    assert [one["kind"] for one in sheet.paint()["controls"]] == ["canny"]


def test_labels_are_painted_without_mixing(sheet: Sheet) -> None:
    sheet.chosen("labels")
    sheet.page.click("#tray .label >> text=sky")
    sheet.page.fill("[name=brush-size]", "60")
    sheet.stroke((0.1, 0.2), (0.9, 0.25))
    sheet.page.fill("#tray input[type=search]", "gra")
    sheet.page.click("#tray .label >> text=grass")
    sheet.page.click("#tools [aria-label='Fill (G)']")
    sheet.page.mouse.click(*sheet.point(0.5, 0.8))
    found = sheet.until_map(lambda found: bool(found[1, 60, 32] > 0.9))
    colours = {tuple(colour) for colour in (255 * found).round().int().flatten(1).T.tolist()}
    assert colours == {(6, 230, 230), (4, 250, 7)}


def test_the_page_by_keyboard_alone(sheet: Sheet) -> None:
    """The pen is put down, moved and lifted with keys; Ctrl+Enter paints."""
    page = sheet.page
    page.keyboard.press("/")
    page.keyboard.type("a boat")
    page.locator("#stage").focus()
    for key in [*["ArrowRight"] * 12, *["ArrowDown"] * 20, "Space", *["ArrowRight"] * 30, "Space"]:
        page.keyboard.press(key)
    sheet.until_map(lambda found: bool(found[0, 18:23, 20:38].sum() > 15))
    body = sheet.asked(lambda: page.keyboard.press("Control+Enter"))
    assert body["prompt"] == "a boat" and len(body["controls"]) == 1
    page.keyboard.press("Escape")
    page.wait_for_selector("#go:not(.running)", timeout=DRAWN)


def test_the_overlay_says_how_well_it_obeys(sheet: Sheet) -> None:
    sheet.page.fill("[name=seed]", "7")
    sheet.page.fill("#prompt", "an orange, 3d sticker")
    sheet.circle()
    sheet.until_map(lambda found: bool(found.mean() > 0.02))
    sheet.paint()
    sheet.page.click("#views [data-view=obedience]")
    figure = sheet.page.wait_for_selector("#verdict .figure b")
    assert 0.5 < float(figure.inner_text()) <= 1
    assert "F1 at 1 px" in sheet.page.inner_text("#verdict")


def test_pictures_stay_and_lead_on(sheet: Sheet) -> None:
    """The gallery outlives a reload; a picture is drawn again, varied, used as a control and to start from."""
    page = sheet.page
    page.fill("#prompt", "a star")
    page.fill("[name=steps]", "2")
    page.fill("[name=seed]", "5")
    page.fill("[name=count]", "2")
    sheet.paint()
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    assert page.locator("#gallery .picture").count() == 2
    page.click("#gallery .picture >> nth=1")
    assert "seed 5" in page.inner_text("#actions .caption")
    assert sheet.asked(lambda: page.click("[data-act=again]"))["seed"] is None
    sheet.painted(3)
    page.wait_for_selector("#actions:not([hidden])")
    page.click("#gallery .picture >> nth=2")
    varied = sheet.asked(lambda: page.click("[data-act=vary]"))
    assert varied["seed"] == 5 and varied["variation"]["strength"] == 0.3
    sheet.painted(4)
    page.wait_for_selector("#actions:not([hidden])")
    page.click("[data-act=start]")
    page.click("[data-act=control]")
    page.fill("#prompt", "a star")
    body = sheet.paint()
    assert body["image"]["strength"] == 0.6 and [one["kind"] for one in body["controls"]] == ["canny"]


def test_a_grid(sheet: Sheet) -> None:
    page = sheet.page
    page.fill("#prompt", "a cup")
    page.click("#open-grid")
    page.select_option("#axes .axis >> nth=0 >> select", "steps")
    page.fill("#axes .axis >> nth=0 >> input", "1, 2")
    page.fill("#axes .axis >> nth=1 >> input", "3, 4")
    page.click("#grid-go")
    page.wait_for_selector("#grid-save", timeout=DRAWN)
    assert page.locator("#cells td img").count() == 4
    page.click("#cells td >> nth=3 >> button")
    page.wait_for_selector("#actions .caption")
    assert "seed 4 · 64 × 64 · 2 steps" in page.inner_text("#actions .caption")


def test_a_phone(visit: Open) -> None:
    """Nothing is wider than the phone, every part is reached, a finger draws."""
    sheet = visit(**PHONE)
    page = sheet.page
    for part in ("controls", "settings", "gallery", "draw"):
        page.tap(f"#pages [data-page={part}]")
        assert page.evaluate("document.documentElement.scrollWidth <= 390 && document.body.scrollHeight <= 844")
    assert page.locator("#go").bounding_box()["height"] >= 36
    finger(sheet, [(0.2 + 0.03 * step, 0.5) for step in range(20)])
    page.tap("#pages [data-page=controls]")
    sheet.until_map(lambda found: bool(found[0, 30:35].mean() > 0.1))
    page.tap("#pages [data-page=settings]")
    page.fill("[name=steps]", "2")
    page.tap("#pages [data-page=draw]")
    page.fill("#prompt", "a bridge")
    assert len(sheet.paint()["controls"]) == 1


def finger(sheet: Sheet, shares: list[tuple[float, float]]) -> None:
    """Draw as a finger does."""
    device = sheet.page.context.new_cdp_session(sheet.page)
    for place, share in enumerate(shares):
        x, y = sheet.point(*share)
        kind = "touchMove" if place else "touchStart"
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_both_languages_and_both_themes(visit: Open) -> None:
    sheet = visit(color_scheme="dark")
    page = sheet.page
    assert page.get_attribute("html", "data-theme") == "dark"
    page.click("#theme")
    page.click("#language")
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    assert page.get_attribute("html", "data-theme") == "light"
    assert page.inner_text("#go span") == "生成" and page.get_attribute("html", "lang") == "zh-CN"


def test_the_page_asks_for_the_token(visit: Open) -> None:
    """Without it nothing is shown but the question; typed in, everything is there, and the address never held it."""
    sheet = visit(token="")
    sheet.page.wait_for_selector("#token[open]")
    assert sheet.page.is_disabled("#go")
    refused = {line for line in sheet.wrong if "401" not in line}
    sheet.wrong.clear()
    sheet.page.fill("#token input", TOKEN)
    sheet.page.click("#token button")
    sheet.page.wait_for_selector("#go:not([disabled])")
    assert not refused and "token" not in sheet.page.url


def test_pictures_are_ranked_blind(visit: Open, survey: Path) -> None:
    sheet = visit("rank", ready=".rival")
    page = sheet.page
    for left in (2, 1):
        assert page.is_disabled("#give")
        for place in (0, 1):
            page.check(f"[name=quality-{place}][value='4']", force=True)
            page.check(f"[name=obedience-{place}][value='2']", force=True)
        page.click("#give")
        page.wait_for_selector(".end" if left == 1 else ".rival")
        page.wait_for_selector("input:checked", state="detached")
    answers = [json.loads(line) for line in (survey / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 2


def test_the_page_is_light(visit: Open) -> None:
    """What a first visit loads, and all there is to load."""
    weight: list[Any] = []
    sheet = visit()
    sheet.page.on("response", lambda answer: weight.append(len(answer.body())) if "/v1/" not in answer.url else None)
    sheet.page.reload()
    sheet.page.wait_for_selector("html[data-ready=yes]")
    assert 50_000 < sum(weight) < HEAVIEST
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < HEAVIEST
