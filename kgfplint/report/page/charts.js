// The two charts, which are filters as well: findings by folder, one level at a time, and by rule.

const CHART = { width: 560, name: 254, number: 52, row: 20, most: 12 };

/** Return a chart of counts, largest first; `choose` is called with the key of the bar that was clicked. */
function chart(counts, { name, chosen, choose, all }) {
  const rows = [...counts.values()].sort((a, b) => b.all - a.all || (a.key < b.key ? -1 : 1));
  const shown = all ? rows : rows.slice(0, CHART.most);
  const scale = (CHART.width - CHART.name - CHART.number) / Math.max(1, ...rows.map((row) => row.all));
  const bars = shown.map((row, number) => {
    const y = number * CHART.row;
    let x = CHART.name;
    const pieces = SEVERITIES.filter((word) => row[word]).map((word) => {
      const width = Math.max(row[word] * scale, 1.5);
      x += width;
      return svg("rect", { class: word, x: x - width, y: y + 4, width, height: CHART.row - 8 });
    });
    const title = name(row.key);
    const said = SEVERITIES.filter((word) => row[word]).map((word) => plural(row[word], word)).join(", ");
    const act = () => choose(row.key);
    return svg("g", { class: chosen(row.key) ? "bar chosen" : "bar", tabindex: 0, role: "button", "data-key": row.key,
      "aria-label": `${title}: ${said}`, onclick: act,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } } },
    svg("title", {}, `${title}: ${said}`),
    svg("rect", { class: "under", x: 0, y, width: CHART.width, height: CHART.row }),
    svg("text", { class: "name", x: 2, y: y + 14 }, title.length > 34 ? `…${title.slice(-33)}` : title), ...pieces,
    svg("text", { class: "number", x: x + 6, y: y + 14 }, row.all.toLocaleString("en")));
  });
  const height = Math.max(shown.length, 1) * CHART.row;
  return { picture: svg("svg", { viewBox: `0 0 ${CHART.width} ${height}` }, ...bars), hidden: rows.length - shown.length };
}

const unfolded = new Set();

function showChart(id, counts, options) {
  const figure = document.getElementById(id);
  figure.querySelectorAll(":scope > svg, :scope > .more").forEach((old) => old.remove());
  const { picture, hidden } = chart(counts, { ...options, all: unfolded.has(id) });
  figure.append(picture);
  if (hidden || unfolded.has(id)) {
    const turn = () => { unfolded[hidden ? "add" : "delete"](id); showChart(id, counts, options); };
    figure.append(el("button", { class: "more", type: "button", onclick: turn }, hidden ? `${hidden} more` : "fewer"));
  }
}

/** Return what a path is counted under when a folder is open: the next folder below it, or the file. */
function below(path, folder) {
  if (path === folder || (folder && !path.startsWith(`${folder}/`))) return path;
  const rest = folder ? path.slice(folder.length + 1) : path;
  const next = rest.includes("/") ? rest.slice(0, rest.indexOf("/")) + "/" : rest;
  return folder ? `${folder}/${next}` : next;
}

/** Return the innermost folder that all paths lie in, "" for the root. */
function commonFolder(paths) {
  const parts = paths.map((path) => path.split("/").slice(0, -1));
  const first = parts[0] || [];
  let depth = 0;
  while (depth < first.length && parts.every((one) => one[depth] === first[depth])) depth += 1;
  return first.slice(0, depth).join("/");
}

function showCrumbs(folder, open) {
  const parts = folder ? folder.split("/") : [];
  const crumbs = [el("button", { type: "button", onclick: () => open("") }, "all")];
  parts.forEach((part, number) => {
    const to = parts.slice(0, number + 1).join("/");
    crumbs.push(" / ", el("button", { type: "button", onclick: () => open(to) }, part));
  });
  document.getElementById("crumbs").replaceChildren(...crumbs);
}
