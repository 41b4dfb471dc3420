// What is chosen, and bringing the page in line with it. It stands in the address behind #, so that it can be passed on.

const EMPTY = { folder: "", rules: [], severities: [], search: "", group: "path", open: "" };
let state = { ...EMPTY };
let common = "";

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const list = (name, known) => (given.get(name) || "").split(",").filter((word) => known.includes(word));
  return { folder: given.get("folder") || "", rules: list("rule", Object.keys(DATA.rules)),
    severities: list("severity", SEVERITIES), search: given.get("search") || "",
    group: Object.hasOwn(GROUPS, given.get("group")) ? given.get("group") : "path", open: given.get("open") || "" };
}

function writeAddress() {
  const said = new URLSearchParams();
  const put = (name, value) => { if (value) said.set(name, value); };
  put("folder", state.folder);
  put("rule", state.rules.join(","));
  put("severity", state.severities.join(","));
  put("search", state.search);
  put("group", state.group === "path" ? "" : state.group);
  put("open", state.open);
  history.replaceState(null, "", `#${said}`);
}

const TESTS = {
  folder: (finding) => !state.folder || finding.path === state.folder || finding.path.startsWith(`${state.folder}/`),
  rules: (finding) => !state.rules.length || state.rules.includes(finding.code),
  severities: (finding) => !state.severities.length || state.severities.includes(finding.severity),
};

/** Return the findings that pass all that is chosen, but for one choice. */
function passing(but) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const tests = Object.keys(TESTS).filter((name) => name !== but).map((name) => TESTS[name]);
  return DATA.findings.filter((finding) => tests.every((test) => test(finding)) && words.every((word) => finding.text.includes(word)));
}

function toggled(list, word) {
  return list.includes(word) ? list.filter((other) => other !== word) : [...list, word];
}

function choose(change) {
  state = { ...state, ...change };
  show();
}

function showSeverities() {
  const counts = tally(passing("severities"), (finding) => finding.severity);
  document.getElementById("severities").replaceChildren(el("legend", {}, "Severity"), ...SEVERITIES.map((word) => {
    const box = el("input", { type: "checkbox", value: word,
      onchange: () => choose({ severities: toggled(state.severities, word) }) });
    box.checked = state.severities.includes(word);
    return el("label", {}, box, ` ${word} `, el("small", {}, (counts.get(word)?.all || 0).toLocaleString("en")));
  }));
}

function show() {
  const found = passing("");
  const open = (folder) => choose({ folder });
  const level = state.folder || common;
  showCrumbs(level, open);
  showChart("by-folder", tally(found, (finding) => below(finding.path, level)), {
    name: (key) => key.slice(level ? level.length + 1 : 0) || key,
    chosen: (key) => key === level, choose: (key) => open(key.replace(/\/$/, "")) });
  showChart("by-rule", tally(passing("rules"), (finding) => finding.code), {
    name: (key) => `${key} ${DATA.rules[key].name}`,
    chosen: (key) => state.rules.includes(key), choose: (key) => choose({ rules: toggled(state.rules, key) }) });
  const focused = document.activeElement?.value;
  showSeverities();
  if (SEVERITIES.includes(focused)) document.querySelector(`#severities [value=${focused}]`).focus();
  const all = DATA.findings.length;
  document.getElementById("count").textContent =
    found.length === all ? plural(all, "finding") : `${found.length.toLocaleString("en")} of ${plural(all, "finding")}`;
  showList(found, state.group, (finding, isOpen) => {
    if (isOpen) state.open = finding.fingerprint;
    else if (state.open === finding.fingerprint) state.open = "";
    writeAddress();
  });
  writeAddress();
}

/** Open the finding that the address names, if it is there. */
function openNamed() {
  const node = state.open && showList.until ? showList.until(state.open) : null;
  if (node) { node.open = true; node.scrollIntoView({ block: "center" }); }
}

function onKey(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || "") && document.activeElement.type !== "checkbox";
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); document.getElementById("search").focus(); }
  if (event.key === "j" || event.key === "k") {
    const rows = [...document.querySelectorAll("summary")], at = rows.indexOf(document.activeElement);
    const next = rows[event.key === "j" ? at + 1 : Math.max(at - 1, 0)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  }
}

function showAbout() {
  const { root, version } = DATA.tree, { files, functions, lines } = DATA.stats;
  const read = `${plural(files, "file")}, ${plural(functions, "function")}, ${plural(lines, "line")}`;
  document.getElementById("about").textContent = `${root}${version ? `, kernel ${version}` : ""}: ${read} read by version ${DATA.version}`;
}

function begin() {
  DATA.findings.forEach((finding, number) => {
    finding.place = number;
    finding.text = `${finding.path}:${finding.line} ${finding.function} ${finding.code} ${DATA.rules[finding.code].name} ${finding.message}`.toLowerCase();
  });
  common = commonFolder(DATA.findings.map((finding) => finding.path));
  const search = document.getElementById("search"), group = document.getElementById("group");
  const set = () => { search.value = state.search; group.value = state.group; show(); openNamed(); };
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => choose({ search: search.value }), 120); });
  group.addEventListener("change", () => choose({ group: group.value }));
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("filters").addEventListener("reset", (event) => { event.preventDefault(); state = { ...EMPTY }; set(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => { state = readAddress(); set(); });
  const theme = document.documentElement.dataset;
  theme.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.getElementById("theme").addEventListener("click", () => { theme.theme = theme.theme === "dark" ? "light" : "dark"; });
  showAbout();
  state = readAddress();
  set();
}

begin();
