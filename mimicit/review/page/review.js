// The page of the review room. Texts of records are set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const COLOURS = ["#e69f00", "#56b4e9", "#2fc99b", "#f0e442", "#ff7a4a", "#e58fc0", "#ffffff"];
const FRESH_MS = 20000;

const state = {
  by: "", deck: null, at: null, of: 0, wanted: {where: "", order: "random", seed: 0}, reasons: [],
  record: null, picture: 0, boxes: sessionStorage.getItem("boxes") === "yes", zoomed: false,
  busy: false, ahead: new Map(), conflict: null,
};

function make(tag, facts = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name === "text") element.textContent = value;
    else if (name === "click") element.addEventListener("click", value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null));
}

// Asking

class Refused extends Error {
  constructor(status, said) {
    super(said.error || "the room does not answer as it should");
    this.status = status;
    this.others = said.others;
  }
}

async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, {error: "the room does not answer; is `syphus data review` still running?"});
  }
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, said);
  return said;
}

function tell(sentence, {passing = false} = {}) {
  $("notice").textContent = sentence;
  $("notice").hidden = !sentence;
  clearTimeout(tell.timer);
  if (sentence && passing) tell.timer = setTimeout(() => tell(""), 4000);
}

function query(parts) {
  return new URLSearchParams(Object.entries(parts).filter(([, value]) => value !== null)).toString();
}

// Records

async function sitDown(wanted = state.wanted) {
  const said = await ask("/api/deck", {by: state.by, ...wanted});
  state.wanted = wanted;
  state.deck = said.deck;
  state.at = null;
  state.ahead.clear();
  progress(said);
  if (said.of === 0) nothing("No record is selected.");
  else await go(said.at === null ? 0 : said.at);
  if (said.of > 0 && said.at === null) tell("All of these are decided.");
}

function nothing(sentence) {
  state.record = null;
  state.at = null;
  document.querySelector("main").hidden = true;
  buttons();
  tell(sentence);
}

async function load(where) {
  const key = query({by: state.by, deck: state.deck, ...where});
  const found = state.ahead.get(key);
  if (found && Date.now() - found.since < FRESH_MS) return found.promise;
  const promise = ask(`/api/record?${key}`);
  promise.catch(() => state.ahead.delete(key));
  state.ahead.set(key, {promise, since: Date.now()});
  return promise;
}

async function go(at) {
  if (at === null || at < 0 || at >= state.of) return;
  await show({at});
}

async function show(where) {
  let record;
  for (;;) {
    try {
      record = await load(where);
      break;
    } catch (error) {
      if (error.status === 410) return sitDown();
      if (error.status !== 503) throw error;
      tell(`${error.message}; trying again`);
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  const same = state.record && state.record.id === record.id;
  state.record = record;
  state.at = record.at ?? state.at;  // what is not among those that are selected leads back to where one was
  if (!same) {
    state.picture = 0;
    zoom(false);
    window.scrollTo(0, 0);
  }
  document.querySelector("main").hidden = false;
  tell(record.waits ? `${record.waits}; decisions are safe in the journal meanwhile` : "");
  progress(record);
  draw();
  foresee(record);
}

function foresee(record) {
  for (const [key, found] of state.ahead) if (Date.now() - found.since > FRESH_MS) state.ahead.delete(key);
  const next = new Set([record.open, state.at === null ? null : state.at + 1]);
  for (const at of next) {
    if (at === null || at === undefined || at >= state.of || at === state.at) continue;
    load({at}).then((coming) => {
      for (const picture of coming.pictures.slice(0, 4)) if (picture.width) new Image().src = address(picture.id);
    }).catch(() => {});
  }
}

function forget() {
  state.ahead.clear();
}

// Drawing

function address(id) {
  return `/picture?${query({id})}`;
}

function progress(said) {
  if (said.of === undefined) return;
  state.of = said.of;
  const share = said.of ? (100 * said.done) / said.of : 0;
  $("filled").style.width = `${share}%`;
  $("bar").setAttribute("aria-valuenow", share.toFixed(0));
  const rate = said.per_hour ? ` · ${Math.round(said.per_hour).toLocaleString()} an hour` : "";
  $("counts").textContent = `${said.done.toLocaleString()} of ${said.of.toLocaleString()}${rate}`;
}

function draw() {
  const record = state.record;
  document.querySelector("main").dataset.record = record.id;
  $("question").textContent = record.instruction;
  $("answer").textContent = record.answer;
  $("liked-less").textContent = record.rejected || "";
  $("liked-less").hidden = !record.rejected;
  const place = isElsewhere() ? null : `${(state.at + 1).toLocaleString()} of ${state.of.toLocaleString()}`;
  const facts = [place, record.id, record.task, record.language, record.turn === null ? null : `turn ${record.turn + 1}`];
  fill($("facts"), ...facts.filter(Boolean).map((text) => make("span", {text})));
  drawBanners(record);
  drawLooks(record);
  drawTurns(record);
  drawVerdicts($("verdicts"), "Verdicts", record.verdicts.map(verdictItem));
  drawVerdicts($("others"), "What other reviewers said (o)", record.others.map(otherItem));
  $("origin").hidden = false;
  drawOrigin(record);
  buttons();
}

// Whether the record is none of those that are selected: a version that an edit made, say.
function isElsewhere() {
  return state.record === null || (state.record.at ?? null) === null;
}

function opener(id) {
  return make("button", {type: "button", className: "link", text: id, click: () => act(() => show({id}))});
}

function drawBanners(record) {
  const lines = [];
  if (record.mine) {
    const said = {accept: "You accepted this", reject: "You rejected this", edit: "You edited this"}[record.mine.do];
    const line = make("p", {className: record.mine.do, text: record.mine.reason ? `${said}: ${record.mine.reason}` : said});
    if (record.mine.new) line.append(": see ", opener(record.mine.new));
    lines.push(line);
  }
  for (const one of record.versions) {
    if (record.mine && record.mine.new === one.id) continue;
    lines.push(make("p", {}, `${one.by === state.by ? "You" : one.by} edited this: see `, opener(one.id)));
  }
  if (record.edited_from) {
    const {id, by, undone} = record.edited_from;
    lines.push(make("p", {}, `${by === state.by ? "You" : by} made this of `, opener(id), undone ? ", and took it back" : ""));
  }
  fill($("banners"), ...lines);
}

function drawLooks(record) {
  const main = document.querySelector("main");
  main.classList.toggle("bare", record.pictures.length === 0);
  $("look").hidden = record.pictures.length === 0;
  if (record.pictures.length === 0) return;
  const strip = record.pictures.map((picture, number) => make(
    "button", {type: "button", "aria-current": String(number === state.picture), click: () => look(number), title: picture.id},
    picture.width ? make("img", {src: address(picture.id), loading: "lazy", alt: `picture ${number + 1}`}) : "?",
    picture.time === null || picture.time === undefined ? null : make("small", {text: clock(picture.time)}),
  ));
  $("strip").hidden = strip.length < 2;
  fill($("strip"), ...(strip.length < 2 ? [] : strip));
  look(state.picture);
}

function drawCaptions(record, picture) {
  const here = record.annotations.filter((one) => one.pictures.length > 1 || one.pictures[0] === picture.id);
  fill($("captions"), ...here.flatMap((one) => [
    ...one.captions.map((text) => make("li", {text: `“${text}”`})),
    ...(one.objects.length ? [make("li", {text: objects(one.objects)})] : []),
  ]));
}

function objects(things) {
  const counts = new Map();
  for (const {name} of things) counts.set(name, (counts.get(name) || 0) + 1);
  return `annotated: ${[...counts].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name)).join(", ")}`;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function look(number) {
  const pictures = state.record.pictures;
  if (number < 0 || number >= pictures.length) return;
  state.picture = number;
  [...$("strip").children].forEach((button, at) => {
    button.setAttribute("aria-current", String(at === number));
    if (at === number && pictures.length > 1) button.scrollIntoView({block: "nearest", inline: "nearest"});
  });
  const picture = pictures[number];
  const there = Boolean(picture.width);
  drawCaptions(state.record, picture);
  $("stage").hidden = !there;
  $("missing").hidden = there;
  $("missing").textContent = there ? "" : `The picture ${picture.id} is not in this dataset.`;
  if (!there) return;
  const wanted = address(picture.id);
  if ($("picture").getAttribute("src") !== wanted) $("picture").src = wanted;
  $("picture").alt = `picture ${number + 1} of ${pictures.length}`;
  fit();
  drawBoxes();
}

function fit() {
  const picture = state.record && state.record.pictures[state.picture];
  if (!picture || !picture.width) return;
  const image = $("picture");
  const [width, height] = image.naturalWidth && image.complete ? [image.naturalWidth, image.naturalHeight] : [picture.width, picture.height];
  const stage = $("stage");
  let scale = Math.min((stage.clientWidth - 2) / width, (stage.clientHeight - 2) / height, 6);
  if (state.zoomed) scale = Math.max(2.5 * scale, 1);
  $("frame").style.width = `${Math.floor(width * scale)}px`;
  $("frame").style.height = `${Math.floor(height * scale)}px`;
}

function drawBoxes() {
  const button = document.querySelector('[data-do="boxes"]');
  button.setAttribute("aria-pressed", String(state.boxes));
  const picture = state.record && state.record.pictures[state.picture];
  const things = picture ? state.record.annotations
    .filter((one) => one.pictures.length === 1 && one.pictures[0] === picture.id)
    .flatMap((one) => one.objects).filter((one) => one.box && one.box.length === 4) : [];
  button.disabled = things.length === 0;
  const names = [...new Set(things.map((one) => one.name))];
  fill($("boxes"), ...(state.boxes ? things : []).map(({name, box: [left, top, right, bottom]}) => {
    const colour = COLOURS[names.indexOf(name) % COLOURS.length];
    const label = make("span", {text: name});
    label.style.background = colour;
    label.classList.toggle("right", left > 0.6);
    const box = make("div", {className: "box", title: name}, label);
    box.style.borderColor = colour;
    box.style.left = `${100 * left}%`;
    box.style.top = `${100 * top}%`;
    box.style.width = `${100 * (right - left)}%`;
    box.style.height = `${100 * (bottom - top)}%`;
    return box;
  }));
}

function zoom(on, event) {
  const stage = $("stage");
  const frame = $("frame").getBoundingClientRect();
  const [x, y] = event ? [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height] : [0.5, 0.5];
  state.zoomed = on;
  stage.classList.toggle("zoomed", on);
  fit();
  if (on) stage.scrollTo(x * $("frame").offsetWidth - stage.clientWidth / 2, y * $("frame").offsetHeight - stage.clientHeight / 2);
}

function drawTurns(record) {
  $("turns").hidden = record.turns.length < 2;
  $("turns").querySelector("summary").textContent = `The whole conversation (${record.turns.length})`;
  fill($("turns").querySelector("ol"), ...record.turns.map((turn) => make(
    "li", {className: turn.id === record.id ? "here" : ""},
    make("button", {type: "button", className: "link q", text: turn.instruction, click: () => act(() => show({id: turn.id}))}),
    turn.answer,
  )));
}

function drawVerdicts(details, title, items) {
  details.hidden = items.length === 0;
  details.querySelector("summary").textContent = `${title}: ${items.length}`;
  fill(details.querySelector("ul"), ...items);
}

function verdictItem(verdict) {
  const score = verdict.score === null ? "" : ` · ${Number(verdict.score.toFixed(3))}`;
  return make("li", {className: verdict.rejects ? "bad" : ""}, make("b", {text: verdict.filter}), `  ${verdict.reason}`,
    make("small", {text: `${verdict.recipe}${score}`}));
}

function otherItem(one) {
  const said = {accept: "accepts", reject: "rejects", edit: "edited"}[one.do];
  return make("li", {className: one.do === "accept" ? "good" : "bad"}, make("b", {text: `${one.by} ${said}`}), one.reason ? `  ${one.reason}` : "");
}

async function drawOrigin(record) {
  const list = $("origin").querySelector("dl");
  const facts = {
    "id": record.id, "source": record.source, "pictures": record.image_ids.join(", "), "translation of": record.translation_of,
    "conversation": record.conversation, "annotation": record.annotations.map((one) => one.source).filter(Boolean).join(", "), "meta": record.meta,
  };
  const rows = (all) => Object.entries(all).filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([name, value]) => [make("dt", {text: name}), make("dd", {text: String(value)})]);
  fill(list, ...rows(facts));
  if (!$("origin").open || !record.request) return;
  const more = await ask(`/api/origin?${query({id: record.id})}`).catch(() => ({}));
  if (state.record !== record) return;
  fill(list, ...rows({...facts,
    "model": more.model, "prompt": more.prompt_task && `${more.prompt_task}, version ${more.prompt_version}`, "run": more.run,
    "cost": more.cost_usd && `${more.cost_usd} USD`, "question asked": more.query, "reply": more.reply_text,
  }));
}

function buttons() {
  const there = state.record !== null;
  for (const name of ["accept", "reject", "edit"]) document.querySelector(`[data-do="${name}"]`).disabled = !there;
  document.querySelector('[data-do="undo"]').disabled = !(there && state.record.can_undo);
  document.querySelector('[data-do="previous"]').disabled = !(state.at > 0 || (there && isElsewhere() && state.at !== null));
  document.querySelector('[data-do="next"]').disabled = state.at === null || state.at + 1 >= state.of;
  if (!there) document.querySelector('[data-do="boxes"]').disabled = true;
}

// Deciding: one thing after the other; a key that is held down decides once

async function act(what) {
  if (state.busy) return;
  state.busy = true;
  try {
    await what();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message);
  } finally {
    state.busy = false;
  }
}

function decision(what) {
  return {by: state.by, deck: state.deck, at: state.at, record: state.record.id, ...what};
}

async function decide(what) {
  const before = state.at;
  const said = await ask("/api/decide", decision(what));
  progress(said);
  state.ahead.delete(query({by: state.by, deck: state.deck, at: before}));
  state.ahead.delete(query({by: state.by, deck: state.deck, id: state.record.id}));
  if (said.new) forget();  // other turns of its conversation show it
  if (before === null || said.open === null) {
    const {id} = state.record;
    await show({id});
    if (said.open === null) tell("All of these are decided.");
  } else {
    await go(said.open);
  }
  progress(said);
  state.record.can_undo = true;
  buttons();
  if (said.new) tell(`saved as ${said.new}`, {passing: true});
}

async function undo() {
  const said = await ask("/api/undo", {by: state.by, deck: state.deck, at: state.at});
  forget();
  await show(said.at === null ? {id: said.record} : {at: said.at});
  const later = said.later.map((one) => `${one.by} had edited it to ${one.id}, which stays`).join("; ");
  tell(`taken back: ${said.undone}${later ? `; ${later}` : ""}`, {passing: !later});
}

// Dialogs

function open(name) {
  const dialog = $(`${name}-dialog`);
  wrong(dialog, "");
  if (!dialog.open) dialog.showModal();
  return dialog;
}

function wrong(dialog, sentence) {
  const line = dialog.querySelector("p.error");
  if (!line) return;
  line.textContent = sentence;
  line.hidden = !sentence;
}

async function within(dialog, what) {
  if (state.busy) return;
  state.busy = true;
  try {
    await what();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 409) {
      state.busy = false;
      dialog.close();
      conflict(error);
    } else {
      wrong(dialog, error.message);
    }
  } finally {
    state.busy = false;
  }
}

function reject(reason) {
  const dialog = $("reject-dialog");
  return within(dialog, async () => {
    await decide({do: "reject", reason});
    dialog.close();
  });
}

function openReject() {
  $("reason").value = "";
  open("reject").querySelector("button").focus();
}

function openEdit(texts = state.record) {
  $("edit-question").value = texts.instruction;
  $("edit-answer").value = texts.answer;
  open("edit");
  $("edit-answer").focus();
}

function mine() {
  return {do: "edit", instruction: $("edit-question").value, answer: $("edit-answer").value};
}

// What was edited is edited further, or two versions of it would stand side by side.
async function editNewest() {
  const passed = new Set();
  for (let newest; (newest = state.record.versions.at(-1)) && !passed.has(newest.id);) {
    passed.add(newest.id);
    await show({id: newest.id});
  }
  openEdit();
}

function saveEdit() {
  const dialog = $("edit-dialog");
  return within(dialog, async () => {
    await decide({...mine(), seen: state.record.versions.map((one) => one.id)});
    dialog.close();
  });
}

function conflict(error) {
  const theirs = error.others[error.others.length - 1];
  state.conflict = {theirs, all: [...state.record.versions.map((one) => one.id), ...error.others.map((one) => one.id)]};
  $("conflict-title").textContent = error.message;
  $("theirs-by").textContent = `${theirs.by}: ${theirs.id}`;
  $("theirs-question").textContent = theirs.instruction;
  $("theirs-answer").textContent = theirs.answer;
  $("mine-question").textContent = $("edit-question").value;
  $("mine-answer").textContent = $("edit-answer").value;
  $("keep-both").hidden = Boolean(state.record.conversation);  // which has each turn once
  open("conflict");
}

function settle(what) {
  const dialog = $("conflict-dialog");
  return within(dialog, async () => {
    forget();
    await what(state.conflict);
    dialog.close();
  });
}

async function openAgreement() {
  const said = await ask("/api/agreement");
  $("agreement-none").hidden = said.pairs.length > 0;
  $("agreement-pairs").hidden = said.pairs.length === 0;
  fill($("agreement-pairs").querySelector("tbody"), ...said.pairs.map((pair) => make("tr", {}, ...[
    `${pair.first}, ${pair.second}`, pair.records.toLocaleString(),
    pair.agreement === null ? "–" : `${Math.round(100 * pair.agreement)} %`, pair.kappa === null ? "–" : pair.kappa.toFixed(2),
  ].map((text) => make("td", {text})))));
  fill($("disagreements"), ...said.disagreements.map((one) => make("li", {},
    make("button", {type: "button", className: "link", text: one.record, click: () => {
      $("agreement-dialog").close();
      act(() => show({id: one.record}));
    }}),
    ...one.said.map((vote) => make("small", {text: `${vote.by}: ${vote.do}${vote.reason ? ` (${vote.reason})` : ""}`})),
  )));
  open("agreement");
}

function openWho() {
  $("name").value = state.by;
  open("who");
  $("name").select();
}

function sitAs(name) {
  const dialog = $("who-dialog");
  return within(dialog, async () => {
    const before = state.by;
    state.by = name.trim();
    try {
      await sitDown();
    } catch (error) {
      state.by = before;
      throw error;
    }
    named();
    dialog.close();
  });
}

function named() {
  $("who").textContent = state.by;
  history.replaceState(null, "", `/?${query({as: state.by})}`);
}

function hideFilter() {
  $("filter").hidden = true;
  document.activeElement.blur();  // what is hidden keeps the keys for a moment otherwise
}

function toggleFilter() {
  if (!$("filter").hidden) {
    hideFilter();
    return;
  }
  $("filter").hidden = false;
  $("where").value = state.wanted.where;
  $("order").value = state.wanted.order;
  $("seed").value = state.wanted.seed;
  $("where").focus();
}

async function applyFilter() {
  const line = $("filter-error");
  const button = $("filter").querySelector("button");
  button.disabled = true;
  line.hidden = true;
  try {
    await act(async () => {
      try {
        await sitDown({where: $("where").value.trim(), order: $("order").value, seed: Math.max(0, Math.trunc(Number($("seed").value)) || 0)});
        hideFilter();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        line.textContent = error.message;
        line.hidden = false;
      }
    });
  } finally {
    button.disabled = false;
  }
}

// Keys and clicks

const DO = {
  accept: () => act(() => decide({do: "accept"})),
  reject: openReject,
  edit: () => act(editNewest),
  undo: () => act(undo),
  next: () => act(() => go(state.at === null ? null : state.at + 1)),
  previous: () => act(() => go(isElsewhere() ? state.at : state.at - 1)),
  boxes: () => {
    state.boxes = !state.boxes;
    sessionStorage.setItem("boxes", state.boxes ? "yes" : "no");
    drawBoxes();
  },
  zoom: () => zoom(!state.zoomed),
  others: () => { $("others").open = !$("others").open; },
  before: () => state.record && look(state.picture - 1),
  after: () => state.record && look(state.picture + 1),
  filter: toggleFilter,
  agreement: () => act(openAgreement),
  help: () => open("help"),
};
const KEYS = {
  a: "accept", r: "reject", e: "edit", u: "undo", n: "next", ArrowRight: "next", p: "previous", ArrowLeft: "previous",
  b: "boxes", z: "zoom", o: "others", ",": "before", ".": "after", f: "filter", "?": "help",
};
const REPEATING = new Set(["next", "previous", "before", "after"]);
const NEEDS_RECORD = new Set(["accept", "reject", "edit"]);

function perform(name) {
  if (NEEDS_RECORD.has(name) && !state.record) return;
  DO[name]();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const field = event.target.closest("input, textarea, select");
  const typing = field && field.offsetParent !== null ? field : null;  // what is hidden keeps the keys for a moment
  if (event.key === "Escape" && typing && $("filter").contains(typing)) hideFilter();
  if (typing) return;
  if ($("reject-dialog").open && /^[1-9]$/.test(event.key) && !event.repeat) {
    const reason = state.reasons[Number(event.key) - 1];
    if (reason) reject(reason);
    event.preventDefault();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!name || (event.repeat && !REPEATING.has(name))) return;
  event.preventDefault();
  perform(name);
});

for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => {
    button.blur();
    perform(button.dataset.do);
  });
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
$("reject-dialog").querySelector("form").addEventListener("submit", () => reject($("reason").value));
$("edit-dialog").querySelector("form").addEventListener("submit", saveEdit);
$("edit-dialog").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveEdit();
});
$("who-dialog").querySelector("form").addEventListener("submit", () => sitAs($("name").value));
$("filter").addEventListener("submit", applyFilter);
$("who").addEventListener("click", openWho);
$("keep-theirs").addEventListener("click", () => settle(({theirs}) => show({id: theirs.id})));
$("keep-both").addEventListener("click", () => settle(({all}) => decide({...mine(), seen: all})));
$("keep-mine").addEventListener("click", () => settle(({theirs}) => decide({...mine(), record: theirs.id, seen: []})));
$("frame").addEventListener("click", (event) => zoom(!state.zoomed, event));
$("picture").addEventListener("load", fit);
$("picture").addEventListener("error", async () => {
  const said = await ask($("picture").getAttribute("src")).catch((error) => ({error: error.message}));
  $("stage").hidden = true;
  $("missing").hidden = false;
  $("missing").textContent = `This picture cannot be shown: ${said.error || "the browser does not know its format"}`;
});
$("origin").addEventListener("toggle", () => state.record && drawOrigin(state.record));
window.addEventListener("resize", fit);

act(async () => {
  const given = new URLSearchParams(location.search).get("as");
  const said = await ask("/api/hello");
  state.by = given || said.reviewer;
  state.reasons = said.reasons;
  state.wanted = said.wanted;
  $("dataset").textContent = said.dataset;
  document.title = `Review: ${said.dataset}`;
  fill($("reasons"), ...said.reasons.map((reason, number) => make("li", {}, make(
    "button", {type: "button", click: () => reject(reason)}, make("kbd", {text: String(number + 1)}), reason,
  ))));
  named();
  await sitDown();
});
