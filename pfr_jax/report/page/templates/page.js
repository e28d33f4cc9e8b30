"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);

  // Plots: colours of text and lines are the page's, so that they follow light and dark.
  const charts = read("charts");

  const broken = (text, pixels) => {
    const most = Math.max(20, Math.floor(pixels / 6.6));
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (longer.length <= most) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines.join("<br>");
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = (given, pixels) => ({
      ...given,
      title: { text: broken(given.title.text, pixels), standoff: 12, font: { size: 13 } },
      automargin: true,
      gridcolor: colour("lines"),
      linecolor: colour("lines"),
      zerolinecolor: colour("soft"),
      zeroline: Boolean(given.zeroline),
    });
    for (const [name, { traces, layout }] of Object.entries(charts)) {
      const place = byId(`chart-${name}`);
      const height = layout.height || 400;
      const width = place.clientWidth;
      const ours = {
        ...layout,
        width,
        height,
        xaxis: axis(layout.xaxis, width - 130),
        yaxis: axis(layout.yaxis, height - 90),
        font: { color: colour("text"), family: "system-ui, sans-serif", size: 13 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        hoverlabel: { bgcolor: colour("raised"), font: { color: colour("text") } },
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
        margin: { l: 48, r: 12, t: 24, b: 48 },
      };
      const shown = traces.map((trace) => (
        trace.line && trace.mode === "lines" && trace.line.width > 0 && !trace.line.color
          ? { ...trace, line: { ...trace.line, color: colour("text") } }
          : trace
      ));
      Plotly.react(place, shown, ours, { displayModeBar: false });
    }
  };
  let later = 0;
  const drawSoon = () => {
    clearTimeout(later);
    later = setTimeout(draw, 100);
  };
  draw();
  addEventListener("resize", drawSoon);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // Fields that filter the rows of a table.
  for (const field of document.querySelectorAll("input[data-filters]")) {
    const rows = [...byId(field.dataset.filters).tBodies[0].rows];
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      const left = rows.filter((row) => !row.hidden).length;
      field.parentElement.querySelector(".found").textContent = `${left} of ${rows.length}`;
    });
  }

  // Recommendations: texts come from files and are never taken for HTML.
  if (!byId("lists")) return;
  const runs = read("lists");
  const field = byId("which-user");
  let users = [];

  const fill = (id, titles, pairs) => {
    byId(id).replaceChildren(...pairs.map(([row, value]) => {
      const entry = document.createElement("li");
      const number = document.createElement("span");
      number.className = "value";
      number.textContent = value.toFixed(2);
      entry.append(number, titles[row]);
      return entry;
    }));
  };

  const show = () => {
    const run = runs[byId("which-run").value];
    const name = field.value.trim();
    const user = Object.hasOwn(run.users, name) ? run.users[name] : null;
    byId("user-found").textContent = user
      ? `User ${name} has ${user.seen} known ratings.`
      : `There is no user ${name}; a user is called as in the ratings' file.`;
    byId("predicts").textContent = run.predicts;
    fill("recommended", run.titles, user ? user.recommended : []);
    fill("liked", run.titles, user ? user.liked : []);
  };

  const step = (by) => {
    const at = users.indexOf(field.value.trim());
    field.value = users[(Math.max(at, by > 0 ? -1 : 0) + by + users.length) % users.length];
    show();
  };

  const choose = () => {
    users = Object.keys(runs[byId("which-run").value].users);
    byId("known-users").replaceChildren(...users.map((name) => new Option(name, name)));
    if (!users.includes(field.value)) field.value = users[0];
    show();
  };
  byId("which-run").addEventListener("change", choose);
  field.addEventListener("input", show);
  byId("user-before").addEventListener("click", () => step(-1));
  byId("user-after").addEventListener("click", () => step(1));
  choose();
})();
