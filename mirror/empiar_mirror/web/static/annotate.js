// The page of a micrograph: looking, and labels by hand. One file, as it is; nothing is asked of any other machine.
//
// Picks are kept as they are saved: x is the column, y the row as stored, the middle of a pixel a whole number. The picture is shown with the
// last row first, as everywhere in the mirror, so that a pick stands at x + ½ from the left and height − y − ½ from the top.
"use strict";

(async () => {
  const byId = (id) => document.getElementById(id);
  const section = byId("annotate");
  const place = section.dataset.address;
  const imageCanvas = byId("image");
  const canvas = byId("picks");
  const KEPT_TILES = 400;
  const UNDO_STEPS = 300;
  const GRAB_PX = 10; // CSS pixels around a pick in which the mouse means it
  const CLICK_PX = 4; // a mouse that moved less has clicked

  let picture; // what the server says of the picture
  let view = { scale: 1, left: 0, top: 0 }; // CSS pixels a picture pixel; the picture's point in the upper left corner
  let picks = []; // never changed in place: undo keeps the arrays
  let chosen = -1;
  let saved = { picks: [], diameter: "" };
  let base = 0; // the version that is being changed
  let past = [];
  let future = [];
  let lastDeed = ""; // moves by keys of one pick are one step of undo
  const tiles = new Map();
  let drawing = false;

  const say = (text) => { byId("said").textContent = text; };
  const trouble = (text) => { byId("trouble").textContent = text; };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const round = (value) => Math.round(value * 10) / 10;
  const toX = (x) => (x + 0.5 - view.left) * view.scale;
  const toY = (y) => (picture.height - y - 0.5 - view.top) * view.scale;
  const fromX = (at) => clamp(round(at / view.scale + view.left - 0.5), 0, picture.width);
  const fromY = (at) => clamp(round(picture.height - at / view.scale - view.top - 0.5), 0, picture.height);

  // --- the picture -----------------------------------------------------------------------------------------

  function tileOf(level, column, row) {
    const lowpass = byId("lowpass").value;
    const key = `${level}/${column}/${row}${lowpass > 0 ? `?lowpass=${lowpass}` : ""}`;
    let tile = tiles.get(key);
    if (tile) {
      tiles.delete(key); // the Map's order is that of their use
    } else {
      tile = new Image();
      tile.onload = draw;
      tile.onerror = () => {
        tiles.delete(key);
        trouble("A part of the picture did not come. Move the picture to ask again.");
      };
      tile.src = `${place}/tile/${key}`;
    }
    tiles.set(key, tile);
    while (tiles.size > KEPT_TILES) tiles.delete(tiles.keys().next().value);
    return tile;
  }

  function drawLevel(context, level, width, height) {
    const [across, down] = picture.levels[level];
    const side = picture.tile * 2 ** level; // picture pixels that a tile covers
    const last = (length) => Math.ceil(length / picture.tile) - 1;
    const first = (start) => Math.max(0, Math.floor(start / side));
    const columns = Math.min(last(across), Math.floor((view.left + width / view.scale) / side));
    const rows = Math.min(last(down), Math.floor((view.top + height / view.scale) / side));
    for (let row = first(view.top); row <= rows; row++) {
      for (let column = first(view.left); column <= columns; column++) {
        const tile = tileOf(level, column, row);
        if (!tile.complete || !tile.naturalWidth) continue;
        context.drawImage(
          tile, (column * side - view.left) * view.scale, (row * side - view.top) * view.scale,
          tile.naturalWidth * 2 ** level * view.scale, tile.naturalHeight * 2 ** level * view.scale);
      }
    }
  }

  function cleared(element) {
    const dots = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = element;
    if (element.width !== Math.round(width * dots) || element.height !== Math.round(height * dots)) {
      element.width = Math.round(width * dots);
      element.height = Math.round(height * dots);
    }
    const context = element.getContext("2d");
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height, dots };
  }

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      const { context, width, height, dots } = cleared(imageCanvas);
      const coarsest = picture.levels.length - 1;
      const level = clamp(Math.floor(-Math.log2(view.scale * dots) + 0.01), 0, coarsest);
      context.imageSmoothingEnabled = view.scale < 2;
      drawLevel(context, coarsest, width, height);
      if (level !== coarsest) drawLevel(context, level, width, height);
      drawPicks();
    });
  }

  function drawPicks() {
    const { context, width, height } = cleared(canvas);
    const radius = Math.max(4, ((Number(byId("diameter").value) || 0) / 2) * view.scale);
    picks.forEach((pick, index) => {
      const x = toX(pick.x), y = toY(pick.y);
      if (x < -radius || y < -radius || x > width + radius || y > height + radius) return;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      if (pick.state === "rejected") { // not by colour alone
        const d = radius * Math.SQRT1_2;
        context.moveTo(x - d, y - d); context.lineTo(x + d, y + d);
        context.moveTo(x - d, y + d); context.lineTo(x + d, y - d);
      }
      context.lineWidth = index === chosen ? 5 : 3;
      context.strokeStyle = "#000";
      context.stroke();
      context.lineWidth = index === chosen ? 3 : 1.5;
      context.strokeStyle = index === chosen ? "#ffe14d" : pick.state === "rejected" ? "#ff8f7f" : pick.source === "hand" ? "#6fd0ff" : "#66ff7a";
      context.stroke();
    });
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = clamp(view.scale * factor, wholeScale() / 2, 32);
    view = { scale, left: view.left + x / view.scale - x / scale, top: view.top + y / view.scale - y / scale };
    draw();
  }

  const wholeScale = () => Math.min(canvas.clientWidth / picture.width, canvas.clientHeight / picture.height);

  function showWhole() {
    const scale = wholeScale();
    view = { scale, left: (picture.width - canvas.clientWidth / scale) / 2, top: (picture.height - canvas.clientHeight / scale) / 2 };
    draw();
  }

  function pan(x, y) {
    view = { ...view, left: view.left - x / view.scale, top: view.top - y / view.scale };
    draw();
  }

  // --- picks -----------------------------------------------------------------------------------------------

  function change(next, deed, selection = chosen) {
    if (deed === "" || deed !== lastDeed) past.push({ picks, chosen });
    if (past.length > UNDO_STEPS) past.shift();
    lastDeed = deed;
    future = [];
    picks = next;
    chosen = selection;
    renew();
  }

  const withPick = (index, pick) => picks.map((one, at) => (at === index ? pick : one));

  function add(x, y) {
    change([...picks, { x, y, state: "kept", source: "hand" }], "", picks.length);
    say(`Added a pick at column ${x}, row ${y}.`);
  }

  function reject(index) {
    const pick = picks[index];
    const state = pick.state === "kept" ? "rejected" : "kept";
    change(withPick(index, { ...pick, state }), "", index);
    say(`Pick ${index + 1} is ${state}.`);
  }

  function move(index, x, y, deed) {
    const pick = picks[index];
    const moved = { ...pick, x: clamp(round(x), 0, picture.width), y: clamp(round(y), 0, picture.height) };
    change(withPick(index, moved), deed, index);
    say(`Pick ${index + 1} at column ${moved.x}, row ${moved.y}.`);
  }

  function step(from, to, word) {
    if (!from.length) return;
    to.push({ picks, chosen });
    ({ picks, chosen } = from.pop());
    lastDeed = "";
    renew();
    say(word);
  }

  function choose(index, { show = false } = {}) {
    chosen = index;
    lastDeed = "";
    if (show && index >= 0) {
      const x = toX(picks[index].x), y = toY(picks[index].y);
      if (x < 0 || y < 0 || x > canvas.clientWidth || y > canvas.clientHeight) pan(canvas.clientWidth / 2 - x, canvas.clientHeight / 2 - y);
    }
    renewChosen();
    if (index >= 0) say(described(index));
  }

  function described(index) {
    const pick = picks[index];
    return `${index + 1}: column ${pick.x}, row ${pick.y}, ${pick.state}${pick.source === "hand" ? ", by hand" : ""}`;
  }

  const nearest = (x, y) => {
    let found = -1, least = GRAB_PX;
    const radius = ((Number(byId("diameter").value) || 0) / 2) * view.scale;
    picks.forEach((pick, index) => {
      const distance = Math.hypot(toX(pick.x) - x, toY(pick.y) - y);
      if (distance < Math.max(least, found < 0 ? Math.min(radius, 40) : 0)) { found = index; least = distance; }
    });
    return found;
  };

  // --- what stands beside the picture ------------------------------------------------------------------------

  const isChanged = () => picks !== saved.picks || byId("diameter").value !== saved.diameter;

  function renew() {
    const list = byId("list");
    list.replaceChildren(...picks.map((_, index) => new Option(described(index), index)));
    const kept = picks.filter((pick) => pick.state === "kept").length;
    byId("count").textContent = `${kept} kept, ${picks.length - kept} rejected`;
    byId("undo").disabled = !past.length;
    byId("redo").disabled = !future.length;
    byId("save-button").disabled = !isChanged() && base > 0;
    byId("unsaved").textContent = isChanged() ? "Not saved yet" : "";
    renewChosen();
  }

  function renewChosen() {
    byId("list").selectedIndex = chosen;
    byId("reject").disabled = chosen < 0;
    byId("reject").textContent = chosen >= 0 && picks[chosen].state === "rejected" ? "Take back" : "Reject";
    draw();
  }

  function renewVersions(versions) {
    byId("versions").replaceChildren(...versions.map((one) => {
      const item = document.createElement("li");
      const aside = one.aside ? ", aside" : "";
      const when = (one.saved_at || "").slice(0, 16).replace("T", " ");
      item.textContent = one.problem
        ? `${one.version}${aside}: ${one.problem} `
        : `${one.version}${aside}: ${one.author}, ${when} UTC, ${one.kept} kept, ${one.rejected} rejected${one.note ? `: ${one.note}` : ""} `;
      if (!one.problem) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Show";
        button.setAttribute("aria-label", `Show version ${one.version}`);
        button.addEventListener("click", () => showVersion(one.version));
        item.append(button);
      }
      return item;
    }));
  }

  // --- the server --------------------------------------------------------------------------------------------

  const listed = (rows) => rows.map(([x, y, state, source]) => ({ x, y, state, source }));

  async function asked(path, options) {
    let answer;
    try {
      answer = await fetch(`${place}/${path}`, { credentials: "same-origin", ...options });
    } catch {
      return { status: 0, text: "the mirror's page cannot be reached; your picks are still here" };
    }
    const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
    return { status: answer.status, document: isJson ? await answer.json() : null, text: isJson ? "" : (await answer.text()).trim() };
  }

  async function load() {
    const { document: state, text } = await asked("state");
    if (!state) { trouble(text); return false; }
    picture = state;
    picks = listed(state.picks);
    chosen = -1;
    past = []; future = [];
    base = state.version;
    byId("diameter").value = state.diameter_px === null ? "" : round(state.diameter_px);
    saved = { picks, diameter: byId("diameter").value };
    const naming = state.naming ? `Picks: ${state.naming}.` : "There are no picks yet.";
    say(state.may_save ? naming : `${naming} To save, log in with the token that the command serve printed: /-/login`);
    trouble(state.problems.join(". "));
    renewVersions(state.versions);
    return true;
  }

  async function showVersion(number) {
    const { document: one, text } = await asked(`versions/${number}`);
    if (!one) { say(text); return; }
    change(listed(one.picks), "", -1);
    say(`These are the picks of version ${number}. Saved, they become a new version; undo brings yours back.`);
  }

  async function save() {
    const sent = { picks, diameter: byId("diameter").value };
    const author = byId("author").value.trim();
    try { localStorage.setItem("empiar-mirror-author", author); } catch { /* a browser that keeps nothing */ }
    byId("save-button").disabled = true;
    const body = {
      base, author, note: byId("note").value.trim() || null,
      diameter_px: Number(sent.diameter) > 0 ? Number(sent.diameter) : null,
      picture_sha256: picture.picture_sha256, picks: sent.picks,
    };
    const { status, document: answer, text } = await asked("labels", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    if (status === 201) {
      base = answer.version;
      saved = sent;
      byId("note").value = "";
      byId("conflict").hidden = true;
      renewVersions(answer.versions);
      renew();
      say(`Saved as version ${answer.version}.`);
    } else if (status === 409 && answer) {
      renewVersions(answer.versions);
      renew();
      const other = answer.versions.find((one) => one.version === answer.current) || {};
      byId("conflict-said").textContent =
        `${other.author || "Somebody"} has saved version ${answer.current} meanwhile. Yours is kept as version ${answer.version}, aside.`;
      byId("conflict").hidden = false;
      byId("take-mine").onclick = () => { base = answer.current; save(); };
      byId("take-theirs").onclick = async () => {
        byId("conflict").hidden = true;
        if (await load()) renew();
      };
    } else {
      renew();
      say(`Not saved: ${text || `the answer was ${status}`}`);
    }
  }

  // --- the mouse, fingers and keys ---------------------------------------------------------------------------

  const pointers = new Map();
  let grabbed = null; // {index, x, y, moved}: what the pointer began on

  const positioned = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    const at = positioned(event);
    pointers.set(event.pointerId, at);
    grabbed = pointers.size === 1 ? { ...at, index: nearest(at.x, at.y), moved: false, before: picks } : null;
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const at = positioned(event);
    pointers.set(event.pointerId, at);
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
      zoom(apart(at) / apart(before), (at.x + other.x) / 2, (at.y + other.y) / 2);
      pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    } else if (grabbed) {
      grabbed.moved ||= Math.hypot(at.x - grabbed.x, at.y - grabbed.y) > CLICK_PX;
      if (!grabbed.moved) return;
      const tool = document.querySelector("input[name=tool]:checked").value;
      if (grabbed.index >= 0 && tool === "choose") {
        picks = grabbed.before.map((pick, index) => (index === grabbed.index
          ? { ...pick, x: clamp(round(pick.x + (at.x - grabbed.x) / view.scale), 0, picture.width), y: clamp(round(pick.y - (at.y - grabbed.y) / view.scale), 0, picture.height) } : pick));
        chosen = grabbed.index;
        draw();
      } else {
        pan(at.x - before.x, at.y - before.y);
      }
    }
  });

  function released(event) {
    if (!pointers.delete(event.pointerId) || !grabbed) return;
    const { index, moved, before } = grabbed;
    grabbed = null;
    if (picks !== before) { // a pick was dragged: one step of undo
      const dragged = picks;
      picks = before;
      if (event.type === "pointerup") move(index, dragged[index].x, dragged[index].y, "");
      else renew();
      return;
    }
    if (moved || event.type !== "pointerup") return;
    const at = positioned(event);
    const tool = document.querySelector("input[name=tool]:checked").value;
    if (tool === "add") add(fromX(at.x), fromY(at.y));
    else if (tool === "reject" && index >= 0) reject(index);
    else choose(index);
  }
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = positioned(event);
    zoom(2 ** (-clamp(event.deltaY * (event.deltaMode ? 30 : 1), -200, 200) / 300), at.x, at.y);
  }, { passive: false });

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }; // rows as stored grow upwards
  const KEYS = {
    n: () => picks.length && choose((chosen + 1) % picks.length, { show: true }),
    p: () => picks.length && choose((Math.max(chosen, 0) + picks.length - 1) % picks.length, { show: true }),
    a: () => add(fromX(canvas.clientWidth / 2), fromY(canvas.clientHeight / 2)),
    delete: () => chosen >= 0 && reject(chosen),
    backspace: () => chosen >= 0 && reject(chosen),
    escape: () => choose(-1),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: showWhole,
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const far = event.shiftKey ? 10 : 1;
      if (chosen >= 0) move(chosen, picks[chosen].x + arrow[0] * far, picks[chosen].y + arrow[1] * far, `key ${chosen}`);
      else pan(-arrow[0] * 40 * far, arrow[1] * 40 * far);
    } else if (Object.hasOwn(KEYS, event.key.toLowerCase())) {
      KEYS[event.key.toLowerCase()]();
    } else {
      return;
    }
    event.preventDefault();
  });

  const undo = () => step(past, future, "Undone.");
  const redo = () => step(future, past, "Done again.");
  section.addEventListener("keydown", (event) => {
    const isText = event.target.matches("input:not([type=range]):not([type=radio])");
    if (!(event.ctrlKey || event.metaKey) || isText) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) undo();
    else if (key === "y" || key === "z") redo();
    else return;
    event.preventDefault();
  });
  byId("list").addEventListener("change", ({ target }) => choose(target.selectedIndex, { show: true }));
  byId("list").addEventListener("keydown", (event) => {
    if (event.key === "Delete" && chosen >= 0) { event.preventDefault(); reject(chosen); }
  });
  byId("reject").addEventListener("click", () => reject(chosen));
  byId("undo").addEventListener("click", undo);
  byId("redo").addEventListener("click", redo);
  byId("closer").addEventListener("click", () => zoom(1.5));
  byId("farther").addEventListener("click", () => zoom(1 / 1.5));
  byId("whole").addEventListener("click", showWhole);
  byId("full").addEventListener("click", () => zoom(1 / view.scale));
  byId("save").addEventListener("submit", (event) => { event.preventDefault(); save(); });
  byId("diameter").addEventListener("input", renew);
  const look = () => { imageCanvas.style.filter = `brightness(${byId("brightness").value}) contrast(${byId("contrast").value})`; };
  byId("contrast").addEventListener("input", look);
  byId("brightness").addEventListener("input", look);
  byId("lowpass").addEventListener("input", () => {
    const value = byId("lowpass").value;
    byId("lowpass-said").textContent = value > 0 ? `${value} ${picture.pixel_size_angstrom ? "Å" : "pixels"}` : "off";
  });
  byId("lowpass").addEventListener("change", draw); // not while it is dragged: each value is other tiles
  window.addEventListener("resize", draw);
  window.addEventListener("beforeunload", (event) => { if (isChanged()) event.preventDefault(); });

  // --- the beginning -----------------------------------------------------------------------------------------

  byId("waiting").hidden = false;
  try { byId("author").value = localStorage.getItem("empiar-mirror-author") || ""; } catch { /* as above */ }
  const isThere = await load();
  byId("waiting").hidden = true;
  if (!isThere) return;
  section.hidden = false;
  showWhole();
  renew();
  section.dataset.ready = "yes";
})();
