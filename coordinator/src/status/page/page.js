// Asks for status.json every second and shows it. Names and reasons are data: they go into the page as text only.

const PAUSE = 1000;
const PATIENCE = 5000;
const SIGNS = { training: "▶", scoring: "◆", preparing: "…", ready: "✓", failed: "✗", left: "✗", dropped: "⊘" };
const KINDS = { training: "working", scoring: "working", preparing: "working", ready: "ready", connected: "ready",
  failed: "wrong", left: "wrong", dropped: "wrong" };
const byId = id => document.getElementById(id);
const shown = new Map();
let heard = null;

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// Rebuilds a part only when its data changed, so that what is selected stays.
function put(id, data, build) {
  const key = JSON.stringify(data);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...build(data));
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

function size(bytes) {
  const [unit, word] = bytes >= 1e9 ? [1e9, "GB"] : bytes >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${(bytes / unit).toFixed(1)} ${word}`;
}

const fixed = (value, decimals) => value === null || value === undefined ? "–" : value.toFixed(decimals);
const clock = seconds => new Date(seconds * 1000).toLocaleTimeString();

function phase(status) {
  const run = status.runs.findLast(run => run.task);
  const whose = run && run.name !== "federation" ? `${run.name}: ` : "";
  const words = {
    gathering: "waiting for its sites",
    working: run ? `${whose}round ${run.task.round} of ${status.rounds}, ${run.task.work} for ${duration(status.now - run.task.since)}`
      : "between two tasks",
    stopping: "stopping",
    finished: "finished",
  };
  return (status.paused ? "paused; " : "") + (words[status.phase] || status.phase);
}

function site([name, site, now]) {
  const card = make("article", undefined, `site ${KINDS[site.state] || ""}`);
  const title = make("h3");
  title.append(make("span", name), make("span", site.role || "not here yet"));
  const working = ["preparing", "training", "scoring"].includes(site.state);
  const state = `${SIGNS[site.state] || "○"} ${site.state}` + (working ? ` ${site.done} of ${site.total}` : "");
  card.append(title, make("p", state, "state"));
  if (working) {
    const bar = make("progress");
    [bar.max, bar.value] = [Math.max(site.total, 1), site.done];
    bar.setAttribute("aria-label", `${name}: ${state}`);
    card.append(bar);
  }
  if (site.reason) card.append(make("p", site.reason, "reason"));
  const facts = make("dl"), say = (name, text) => facts.append(make("dt", name), make("dd", text));
  if (site.state === "training") say("speed", `${fixed(site.slices_per_second, 0)} slices/s`);
  if (site.loss !== null) say("loss", fixed(site.loss, 4));
  if (site.last_progress !== null) say("last progress", `${duration(now - site.last_progress)} ago`);
  if (site.connected && site.tunnelled) say("way", "TLS over TCP");
  if (site.connected && site.key_exchange) say("keys", site.key_exchange);
  if (site.sequences) say("sequences", site.sequences.join(", "));
  const cases = site.cases && Object.entries(site.cases).filter(([, count]) => count > 0);
  if (site.lesions === 0) say("lesions", "none in its labels: its Dice says nothing");
  if (cases) say("cases", cases.map(([kind, count]) => `${count} ${kind.replace("_", "-")}`).join(", "));
  card.append(facts);
  return card;
}

// A site has one look in all curves, whether it has a line in each or not.
function lines(run, all, bySite) {
  const given = run.rounds.flatMap(round => Object.keys(round.losses).concat(Object.keys(round.validation_by_site)));
  const names = [...new Set(given)].sort();
  const line = (name, value, look) => ({
    name, look,
    points: run.rounds.map(round => [round.round, value(round)]).filter(([, value]) => Number.isFinite(value)),
  });
  return [line("all sites", all, 0), ...names.map((name, index) => line(name, round => bySite(round)[name], index + 1))];
}

function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

function curve(title, all, bySite) {
  return ([run, rounds]) => {
    const drawn = lines(run, all, bySite).filter(line => line.points.length > 0);
    return drawn.length ? [chart(title, drawn, rounds), legend(drawn)] : [make("p", "nothing yet")];
  };
}

function table(run) {
  const row = (cells, tag) => {
    const row = make("tr");
    row.append(...cells.map(cell => make(tag, cell)));
    return row;
  };
  const head = make("thead"), body = make("tbody");
  head.append(row(["round", "time", "moved", "validation", "held-out", "mean loss", "missing or partial"], "th"));
  for (const round of [...run.rounds].reverse()) {
    const best = round.round === run.best_round ? "★ " : "";
    const partial = Object.entries(round.partial ?? {}).map(([site, [done, asked]]) => `${site}: ${done} of ${asked} steps`);
    const missing = Object.entries(round.missing).map(([site, reason]) => `${site}: ${reason}`).concat(partial).join("; ");
    body.append(row([round.round, duration(round.seconds), size(round.bytes), best + fixed(round.validation, 4),
      fixed(round.held_out, 4), fixed(mean(Object.values(round.losses)), 4), missing], "td"));
  }
  return [head, body];
}

function chosen(status) {
  const menu = byId("run");
  put("run", status.runs.map(run => run.name), names => names.map(name => new Option(name, name)));
  byId("choose").hidden = status.runs.length < 2;
  return status.runs[Math.max(menu.selectedIndex, 0)] || { rounds: [] };
}

function show(status) {
  const first = status.runs[0], done = first ? first.finished : 0;
  document.title = `${done}/${status.rounds} ${status.federation}`;
  byId("name").textContent = status.federation;
  byId("phase").textContent = phase(status);
  [byId("rounds").max, byId("rounds").value] = [status.rounds, done];
  const sites = Object.entries(status.sites).map(([name, site]) => [name, site, Math.floor(status.now)]);
  put("sites", sites, sites => sites.map(site_ => site(site_)));
  const run = chosen(status);
  put("validation", [run, status.rounds],
    curve("Validation Dice by round", round => round.validation, round => round.validation_by_site));
  put("losses", [run, status.rounds],
    curve("Training loss by round", round => mean(Object.values(round.losses)), round => round.losses));
  put("table", run, table);
  put("troubles", status.troubles, troubles => troubles.length ? [...troubles].reverse().map(trouble => {
    const entry = make("li");
    entry.append(make("time", clock(trouble.at)), ` ${trouble.site} ${trouble.reason}`);
    return entry;
  }) : [make("li", "nothing so far")]);
  byId("foot").textContent = `Lacuna ${status.version}, started ${new Date(status.began * 1000).toLocaleString()}`;
}

function lost(sentence) {
  document.body.classList.toggle("lost", sentence !== null);
  byId("lost").hidden = sentence === null;
  byId("lost").textContent = sentence || "";
}

// The status, or else a sentence about why there is none.
async function ask() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) return [null, "This page needs its token: open it once as /?token=TOKEN."];
    if (answer.ok) return [await answer.json(), null];
  } catch {
    // The message is below the page: for the reader, no answer and a broken one are the same.
  }
  const known = `No connection to the coordinator. What is shown is of ${clock(heard)}.`;
  return [null, heard === null ? "The coordinator does not answer." : known];
}

async function poll() {
  const [status, trouble] = await ask();
  // First, so that a picture that cannot be shown does not end the asking.
  setTimeout(poll, PAUSE);
  lost(trouble);
  if (status) {
    heard = Date.now() / 1000;
    show(status);
  }
}

poll();
