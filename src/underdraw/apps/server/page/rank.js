/** The ranking page: pictures for one map, blind and shuffled; each gets 1 to 5 for quality and for obedience. */

import { ask, keepToken, takeToken } from "./api.js";
import { on } from "./bus.js";
import { find, h } from "./dom.js";
import { startTheme } from "./theme.js";
import { setLanguage, spoken, t, translate } from "./words.js";

const KEPT = "underdraw-person";
const MARKS = [1, 2, 3, 4, 5];
const desk = find("#desk");
let shown = null;

on("language", render);
on("token", () => {
  const given = prompt(t("token.ask"));
  if (given) keepToken(given);
});

async function next() {
  const person = localStorage.getItem(KEPT);
  try {
    const page = await ask(`/v1/rank${person ? `?person=${encodeURIComponent(person)}` : ""}`);
    localStorage.setItem(KEPT, page.person);
    shown = { ...page, scores: (page.pictures ?? []).map(() => ({ quality: null, obedience: null })) };
  } catch (error) {
    shown = { trouble: error.status === 404 ? t("rank.none") : error.message };
  }
  render();
}

function render() {
  if (!shown) return;
  if (shown.trouble || !shown.page)
    return desk.replaceChildren(h("p", { class: "end" }, shown.trouble ?? t("rank.thanks")));
  desk.replaceChildren(
    h(
      "header",
      { class: "task" },
      shown.map ? h("figure", {}, image(shown.map), h("figcaption", {}, t("rank.map"))) : "",
      h(
        "div",
        {},
        h("h2", {}, shown.prompt || t("rank.no_prompt")),
        h("p", { class: "hint" }, t("rank.explain")),
        h("p", { class: "hint" }, t("rank.left", { count: shown.left })),
      ),
    ),
    h("div", { class: "rivals" }, shown.pictures.map(rival)),
    h("button", { type: "button", id: "give", class: "go", disabled: !complete(), onclick: give }, t("rank.give")),
  );
}

const image = (text) => h("img", { src: `data:image/png;base64,${text}`, alt: "" });
const complete = () => shown.scores.every(({ quality, obedience }) => quality && obedience);

function rival(text, place) {
  return h("figure", { class: "rival" }, image(text), ...["quality", "obedience"].map((what) => marks(place, what)));
}

function marks(place, what) {
  const name = `${what}-${place}`;
  const mark = (value) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name,
        value,
        checked: shown.scores[place][what] === value,
        onchange: () => choose(place, what, value),
      }),
      h("span", {}, String(value)),
    );
  return h("fieldset", { class: "marks" }, h("legend", {}, t(`rank.${what}`)), MARKS.map(mark));
}

function choose(place, what, value) {
  shown.scores[place][what] = value;
  find("#give").disabled = !complete();
}

async function give() {
  try {
    await ask("/v1/rank", { page: shown.page, scores: shown.scores });
  } catch (error) {
    if (error.status !== 409) {
      shown = { trouble: error.message };
      return render();
    }
  }
  return next();
}

takeToken();
translate();
startTheme();
find("#language").addEventListener("click", () => setLanguage(spoken() === "en" ? "zh" : "en"));
await next();
