"use strict";
(() => {
  // ---- the data: tables by column become lists of rows ----------------------------------------------------------------------------

  const data = JSON.parse(document.getElementById("data").textContent);
  const AXES = ["optimizer", "layer_lr", "schedule"];
  const read = (value) => (value === "∞" ? Infinity : value === "-∞" ? -Infinity : value);
  const table = (columns) => {
    const names = Object.keys(columns);
    return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, read(columns[name][i])])));
  };
  const workloads = data.workloads.map((of, index) => ({ ...of, index, name: data.axes.workload[index] }));
  const rows = table(data.rows).map((row, index) => {
    const axes = Object.fromEntries(AXES.map((axis) => [axis, data.axes[axis][row[axis]]]));
    const name = AXES.map((axis) => axes[axis]).join(" / ");
    return { ...row, ...axes, index, name, workload: workloads[row.workload], cells: [], curve: null };
  });
  for (const cell of table(data.cells)) rows[cell.row].cells.push(cell);
  for (const curve of table(data.curves)) rows[curve.row].curve = { ...curve, steps: data.grids[curve.grid] };
  for (const row of rows) row.text = `${row.workload.name} ${row.name}`.toLowerCase();

  // ---- numbers as people read them ------------------------------------------------------------------------------------------------

  const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
  const finite = (value) => known(value) && Number.isFinite(value);

  function number(value, digits = 3) {
    if (!known(value)) return "-";
    if (!Number.isFinite(value)) return value > 0 ? "never" : "-";
    const size = Math.abs(value);
    if (size >= 1000 && size < 1e9) return Math.round(value).toLocaleString("en-US");
    if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(value.toPrecision(digits)));
  }

  // a time and its bounds in the unit that suits it
  const TIMES = [[7200, 3600, "h"], [120, 60, "min"], [1, 1, "s"], [1e-3, 1e-3, "ms"], [0, 1e-6, "µs"]];
  const unit = (value) => TIMES.find(([least]) => value >= least) || TIMES[4];
  const time = (value) => (finite(value) ? `${number(value / unit(value)[1])} ${unit(value)[2]}` : number(value));

  const bare = (workload, value) => (!finite(value) ? "-" : workload.percent ? (100 * value).toFixed(1) : number(value, 4));
  const metric = (workload, value) => bare(workload, value) + (workload.percent && finite(value) ? " %" : "");
  const interval = (low, high, show) => (known(low) && known(high) ? `[${show(low)}, ${show(high)}]` : "");
  const share = (part, of) => (of ? `${Math.round((100 * part) / of)} %` : "-");
  const count = (n, word) => `${n.toLocaleString("en-US")} ${n === 1 ? word : word.endsWith("y") ? `${word.slice(0, -1)}ies` : `${word}s`}`;
  const metricName = (workload) => `validation ${workload.metric}${workload.percent ? ", %" : ""}`;

  // ---- elements; text is always text, so no label can become markup -----------------------------------------------------------------

  const $ = (id) => document.getElementById(id);
  const SVG = $("svg").namespaceURI;

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && known(value)) node.setAttribute(name, value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // ---- what is chosen -------------------------------------------------------------------------------------------------------------

  const PAGE = 100; // rows of the table before one asks for more
  const LINES = 24; // lines of one workload: eight colours times three dashes
  const FIRST = 4; // strategies of a workload in the charts at first, besides the baseline
  const state = {
    workload: null, search: "", optimizer: "", layer_lr: "", schedule: "", only: "", colour: "strategy",
    sort: "rank", down: false, shown: PAGE,
    slots: new Map(), // the rows in the charts, each with the number of its line among those of its workload
    axes: {
      response: { x: "lr", y: "metric", view: 0.6 },
      curve: { x: "step", y: "loss", view: 1 },
      scatter: { x: "sensitivity", y: "metric", view: 0.2 },
    },
  };

  const picked = (row) => state.slots.has(row.index);
  const inView = (row) => state.workload === null || row.workload.index === state.workload;
  const viewed = () => workloads.filter((w) => state.workload === null || w.index === state.workload);

  function pick(row) {
    const used = new Set([...state.slots].filter(([index]) => rows[index].workload === row.workload).map(([, slot]) => slot));
    const slot = [...Array(LINES).keys()].find((i) => !used.has(i));
    if (slot === undefined) say(`The charts hold ${LINES} strategies of a workload; take one out first.`);
    else state.slots.set(row.index, slot);
  }

  function pickFirst() {
    for (const workload of workloads) {
      const mine = rows.filter((row) => row.workload === workload && row.rank !== null);
      mine.slice(0, FIRST).forEach(pick);
      const plain = mine.find((row) => row.plain && row.optimizer === mine[0].optimizer) || mine.find((row) => row.plain);
      if (plain && !picked(plain)) pick(plain);
    }
  }

  const TESTS = {
    "": () => true,
    alike: (row) => row.rank === 1 || row.alike === 1,
    picked,
    diverged: (row) => row.diverged > 0,
  };

  function matches(row) {
    return inView(row) && AXES.every((axis) => !state[axis] || row[axis] === state[axis]) && TESTS[state.only](row) &&
      state.search.toLowerCase().split(/\s+/).every((word) => row.text.includes(word) || hasKey(row, word));
  }
  const hasKey = (row, word) => /^[0-9a-f]{8,}$/.test(word) && row.cells.some((cell) => ` ${cell.keys}`.includes(` ${word}`));

  // ---- the table ------------------------------------------------------------------------------------------------------------------

  const goodness = (row) => (state.workload === null && !row.workload.higher && known(row.metric) ? -row.metric : row.metric);
  const highFirst = () => (state.workload === null ? true : workloads[state.workload].higher);
  const steps = (row) => (row.rank === null ? null : row.steps === null ? Infinity : row.steps);
  const withInterval = (value, bounds) => [value, bounds ? el("span", { class: "interval" }, ` ${bounds}`) : ""];

  // within: a value that has no meaning across workloads, so that all of them together are sorted workload by workload
  const COLUMNS = [
    { id: "rank", label: "Rank", number: true, within: true, value: (row) => row.rank, show: rank },
    { id: "workload", label: "Workload", words: true, value: (row) => row.workload.name },
    ...AXES.map((axis) => ({ id: axis, label: { optimizer: "Optimizer", layer_lr: "Layer lr", schedule: "Schedule" }[axis], words: true, value: (row) => row[axis] })),
    { id: "best_lr", label: "Best lr", number: true, value: (row) => row.best_lr, show: bestLr },
    { id: "metric", label: "Validation", number: true, within: true, down: highFirst, value: goodness,
      show: (row) => withInterval(metric(row.workload, row.metric), interval(row.metric_low, row.metric_high, (v) => bare(row.workload, v))) },
    { id: "steps", label: "Steps to target", number: true, value: steps, show: (row) => number(steps(row)) },
    { id: "seconds", label: "Time to target", number: true, value: (row) => row.seconds, show: timed, lacking: !rows.some((row) => known(row.seconds)) },
    { id: "reached", label: "Reached", number: true, down: () => true, value: (row) => (row.at_best ? row.reached / row.at_best : null),
      show: (row) => (known(row.reached) ? `${row.reached} of ${row.at_best}` : "-") },
    { id: "diverged", label: "Diverged", number: true, down: () => true, value: (row) => (row.trained ? row.diverged / row.trained : null), show: diverged },
    ...data.measures.map((of) => ({ id: of.id, label: of.label, title: of.help, number: true, within: true,
      value: (row) => row[of.id], show: (row) => row[`${of.id}_shown`], lacking: !rows.some((row) => known(row[of.id])) })),
    { id: "runs", label: "Runs", number: true, value: (row) => row.runs, show: runsButton },
  ].filter((column) => !column.lacking);
  const column = (id) => COLUMNS.find((of) => of.id === id);

  // a label that may break after a bracket or a comma
  const words = (label) => label.split(/(?<=[(,])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));

  function rank(row) {
    if (row.rank === null) return el("span", { class: "bad", title: "No run finished at any lr." }, "failed");
    return row.alike ? [el("span", { class: "alike", title: "Statistically tied with the best." }, "≈ "), String(row.rank)] : String(row.rank);
  }

  function bestLr(row) {
    const told = { lowest: "the lowest of its grid", highest: "the highest of its grid", only: "the only one it was run at" }[row.edge];
    return told ? [number(row.best_lr), el("span", { class: "bad", title: `This lr is ${told}: a better one may lie beyond.` }, " boundary")] : number(row.best_lr);
  }

  function timed(row) {
    const sized = (value) => number(value / unit(row.seconds)[1]);
    return withInterval(time(row.seconds), finite(row.seconds) ? interval(row.seconds_low, row.seconds_high, sized) : "");
  }

  function diverged(row) {
    const crashed = row.crashed ? `, ${row.crashed} crashed` : "";
    return el("span", { title: `${row.diverged} of ${count(row.trained, "run")} at ${count(row.lrs, "lr")}${crashed}` },
      row.trained ? share(row.diverged, row.trained) : "-", row.crashed ? el("span", { class: "bad" }, crashed) : "");
  }

  function runsButton(row) {
    return el("button", { type: "button", "aria-label": `${count(row.runs, "run")} of ${row.name} on ${row.workload.name}`, onclick: () => openRuns(row) },
      row.runs.toLocaleString("en-US"));
  }

  function order(a, b) {
    const by = column(state.sort);
    if (by.within && a.workload !== b.workload) return a.workload.index - b.workload.index;
    const [x, y] = [by.value(a), by.value(b)];
    if (known(x) !== known(y)) return known(x) ? -1 : 1;
    if (!known(x) || x === y) return a.index - b.index;
    const up = by.words ? x.localeCompare(y, "en") : x < y ? -1 : 1;
    return (state.down ? -up : up) || a.index - b.index;
  }

  function buildHead() {
    const head = COLUMNS.map((of) => el("th", { scope: "col", "data-column": of.id, class: of.number ? "number" : "", title: of.title || null },
      el("button", { type: "button", onclick: () => sortBy(of) }, of.label)));
    $("table").tHead.append(el("tr", {}, el("th", { scope: "col", class: "plain" }, "Chart"), head));
  }

  function sortBy(of) {
    state.down = state.sort === of.id ? !state.down : Boolean(of.down && of.down());
    state.sort = of.id;
    showTable();
  }

  let listed = [];
  function showTable() {
    listed = rows.filter(matches).sort(order);
    for (const th of $("table").tHead.querySelectorAll("th[data-column]")) {
      th.hidden = th.dataset.column === "workload" && state.workload !== null;
      if (th.dataset.column === state.sort) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    $("table").tBodies[0].replaceChildren(...listed.slice(0, state.shown).map(tableRow));
    const all = rows.filter(inView).length;
    say(listed.length === all ? count(all, "strategy") : `${listed.length.toLocaleString("en-US")} of ${count(all, "strategy")}`);
    $("more").hidden = listed.length <= state.shown;
    $("more").textContent = `Show ${Math.min(PAGE, listed.length - state.shown)} more`;
    markPicked();
  }

  function tableRow(row) {
    const box = el("input", { type: "checkbox", "aria-label": `Show ${row.name} on ${row.workload.name} in the charts`, onchange: () => toggle(row) });
    const cells = COLUMNS.filter((of) => of.id !== "workload" || state.workload === null).map((of) =>
      el("td", { class: of.number ? "number" : "words" }, of.show ? of.show(row) : words(of.value(row))));
    const click = (event) => event.target.closest("button, input") || String(getSelection()) || toggle(row);
    return el("tr", { "data-row": row.index, onclick: click }, el("td", {}, el("span", { class: "pick" }, box, el("span", {}))), cells);
  }

  function markPicked() {
    for (const tr of $("table").tBodies[0].rows) {
      const row = rows[tr.dataset.row];
      const [box, swatch] = tr.querySelector(".pick").children;
      box.checked = picked(row);
      swatch.replaceChildren(...(picked(row) ? [sample(styleOf(row))] : []));
    }
  }

  function toggle(row) {
    if (picked(row)) state.slots.delete(row.index);
    else pick(row);
    if (state.only === "picked") showTable();
    else markPicked();
    showCharts();
  }

  const say = (text) => { $("count").textContent = text; };

  // ---- colours: by line, or by the value of an axis --------------------------------------------------------------------------------

  const style = (i) => (i < 0 || i >= LINES ? { class: "other d0", shape: 0 } : { class: `c${i % 8} d${Math.floor(i / 8)}`, shape: Math.floor(i / 8) });
  let axisOrder = [];

  function orderAxis() {
    const mine = rows.filter(inView).sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity) || a.index - b.index);
    axisOrder = state.colour === "strategy" ? [] : [...new Set(mine.map((row) => row[state.colour]))];
  }
  const styleOf = (row) => style(state.colour === "strategy" ? state.slots.get(row.index) ?? -1 : axisOrder.indexOf(row[state.colour]));

  function mark(kind, shape, x, y, size) {
    if (kind === "cross") return draw("path", { class: "mark cross", d: `M${x - 3},${y - 3}l6,6m0,-6l-6,6` });
    if (shape === 1) return draw("rect", { class: `mark ${kind}`, x: x - size * 0.9, y: y - size * 0.9, width: size * 1.8, height: size * 1.8 });
    if (shape === 2) return draw("path", { class: `mark ${kind}`, d: `M${x},${y - size * 1.2}l${size * 1.1},${size * 2}h${-size * 2.2}z` });
    return draw("circle", { class: `mark ${kind}`, cx: x, cy: y, r: size });
  }

  function sample({ class: name, shape }) {
    return draw("svg", { width: 22, height: 12, viewBox: "0 0 22 12", class: name, "aria-hidden": "true" },
      draw("path", { class: "line", d: "M0,6h22" }), mark("full", shape, 11, 6, 3));
  }

  function showLegend() {
    const mine = rows.filter((row) => picked(row) && inView(row));
    const parts = viewed().map((workload) => [workload, mine.filter((row) => row.workload === workload)]).filter(([, of]) => of.length);
    const keys = axisOrder.length ? [[el("h3", {}, $("colour").selectedOptions[0].textContent), axisKeys()]] : [];
    const chips = parts.map(([workload, of]) => [parts.length > 1 || keys.length ? el("h3", {}, workload.name) : "", of.map(chip)]);
    $("legend").replaceChildren(...[...keys, ...chips].map((line) => el("div", {}, line)));
  }

  function axisKeys() {
    const used = new Set(rows.filter((row) => inView(row) && (picked(row) || matches(row))).map((row) => row[state.colour]));
    const named = axisOrder.slice(0, LINES).filter((value) => used.has(value));
    const others = axisOrder.slice(LINES).filter((value) => used.has(value)).length;
    const keys = named.map((value) => el("span", { class: "chip key" }, sample(style(axisOrder.indexOf(value))), el("span", {}, value)));
    return others ? [...keys, el("span", { class: "chip key" }, sample(style(-1)), el("span", {}, `${others} others`))] : keys;
  }

  function chip(row) {
    const off = el("button", { type: "button", "aria-label": `Take ${row.name} on ${row.workload.name} out of the charts`, onclick: () => toggle(row) }, "×");
    const light = (on) => () => lightUp(on ? row : null);
    return el("span", { class: "chip", onmouseenter: light(true), onmouseleave: light(false) }, sample(styleOf(row)), el("span", {}, row.name), off);
  }

  function lightUp(row) {
    for (const svg of document.querySelectorAll(".panel svg")) {
      const mine = row && svg.querySelectorAll(`[data-row="${row.index}"]`);
      svg.classList.toggle("faded", Boolean(mine && mine.length));
      for (const g of svg.querySelectorAll(".lit")) g.classList.remove("lit");
      for (const g of mine || []) g.classList.add("lit");
    }
  }

  // ---- what the charts can show ----------------------------------------------------------------------------------------------------

  const some = (test) => rows.some(test);
  const direction = (workload) => (workload.higher ? 1 : -1);
  // log: the ratio of the greatest value to the least from which an axis is logarithmic
  const RESPONSE_X = {
    lr: { name: "base lr", log: 2, value: (row, cell) => cell.lr },
    relative: { name: "lr / best lr", log: 2, value: (row, cell) => cell.lr / row.best_lr },
    ...(some((row) => known(row.default_lr)) && {
      default: { name: "lr / default lr", log: 2, value: (row, cell) => (row.default_lr ? cell.lr / row.default_lr : null) },
    }),
  };
  const RESPONSE_Y = {
    metric: { name: metricName, better: direction, log: 20, value: (cell) => [cell.middle, cell.least, cell.most], show: metric, tick: metricTick },
    loss: { name: () => "validation loss", better: () => -1, log: 20, value: (cell) => [cell.loss, cell.loss_least, cell.loss_most] },
    steps: { name: () => "steps to target", value: (cell) => [cell.steps, cell.steps_least, cell.steps_most] },
    diverged: { name: () => "diverged, %", value: (cell) => [cell.diverged / (cell.runs - cell.crashed || 1), null, null], show: (_, v) => share(v, 1), tick: percentTick },
  };
  const CURVE_X = {
    step: { name: "step", value: (row, step) => step },
    ...(some((row) => known(row.step_seconds)) && {
      seconds: { name: "training time", value: (row, step) => (known(row.step_seconds) ? step * row.step_seconds : null), show: time, tick: time },
    }),
  };
  const CURVE_Y = {
    loss: { name: () => "validation loss", better: () => -1, log: 2, value: (curve, i) => [curve.loss[i], curve.loss_least[i], curve.loss_most[i]] },
    metric: { name: metricName, better: direction, log: 20, value: (curve, i) => [curve.metric[i], curve.metric_least[i], curve.metric_most[i]], show: metric, tick: metricTick },
  };
  const MEASURES = {
    metric: { name: metricName, better: direction, value: (row) => row.metric, show: metric, tick: metricTick },
    lr: { name: () => "best lr", log: 2, value: (row) => row.best_lr },
    steps: { name: () => "steps to target", value: steps },
    seconds: { name: () => "time to target", log: 10, value: (row) => row.seconds, show: (_, v) => time(v), tick: (_, v) => time(v) },
    step_seconds: { name: () => "time of a step", log: 10, value: (row) => row.step_seconds, show: (_, v) => time(v), tick: (_, v) => time(v) },
    diverged: { name: () => "diverged, %", value: (row) => (row.trained ? row.diverged / row.trained : null), show: (_, v) => share(v, 1), tick: percentTick },
    ...Object.fromEntries(data.measures.map((of) => [of.id, { name: () => of.label.toLowerCase(), value: (row) => row[of.id] }])),
    default: { name: () => "default lr", log: 10, value: (row) => row.default_lr },
  };
  for (const [id, of] of Object.entries(MEASURES)) if (!some((row) => finite(of.value(row)))) delete MEASURES[id];

  function metricTick(workload, value) { return tick(workload.percent ? 100 * value : value); }
  function percentTick(_, value) { return tick(100 * value); }

  const CHARTS = {
    response: { x: RESPONSE_X, y: RESPONSE_Y, lines: responseLines, rows: (w) => rows.filter((row) => picked(row) && row.workload === w) },
    curve: { x: CURVE_X, y: CURVE_Y, lines: curveLines, rows: (w) => rows.filter((row) => picked(row) && row.workload === w) },
    scatter: { x: MEASURES, y: MEASURES, lines: scatterLines, rows: (w) => listed.filter((row) => row.workload === w) },
  };

  function keysTold(cell) {
    const keys = cell.keys.split(" ");
    return keys[0] + (cell.runs > 1 ? ` and ${cell.runs - 1} more` : "");
  }

  function told(row, lines, cell) {
    const short = cell && cell.runs ? [el("span", { class: "keys" }, keysTold(cell))] : [];
    return () => [el("b", {}, row.name), ...lines.filter(Boolean).map((line) => el("div", {}, line)), ...short];
  }

  function responseLines(workload, mine, x, y) {
    const show = (value) => (y.show ? y.show(workload, value) : number(value, 4));
    return mine.map((row) => ({ row, joined: true, points: row.cells.map((cell) => {
      const [middle, low, high] = y.value(cell);
      const lines = [`lr ${number(cell.lr)}: ${y.name(workload).replace(", %", "")} ${show(middle)}${known(low) && low !== high ? `, ${show(low)} to ${show(high)}` : ""}`,
        `${count(cell.runs, "run")}, ${cell.reached} reached the target`, cell.diverged ? `${cell.diverged} diverged` : "", cell.crashed ? `${cell.crashed} crashed` : ""];
      return { x: x.value(row, cell), y: middle, low, high, cell, full: cell.lr === row.best_lr, cross: cell.diverged > 0, marked: true, told: told(row, lines, cell) };
    }) }));
  }

  function curveLines(workload, mine, x, y) {
    const show = (value) => (y.show ? y.show(workload, value) : number(value, 4));
    const shown = x.show || ((value) => `step ${number(value)}`);
    return mine.filter((row) => row.curve).map((row) => {
      const cell = row.cells.find((of) => of.lr === row.best_lr);
      return { row, joined: true, points: row.curve.steps.map((step, i) => {
        const [middle, low, high] = y.value(row.curve, i);
        const seeds = Array.isArray(row.curve.seeds) ? row.curve.seeds[i] : row.curve.seeds;
        const lines = [`${shown(x.value(row, step))}: ${y.name(workload).replace(", %", "")} ${show(middle)}${known(low) && low !== high ? `, ${show(low)} to ${show(high)}` : ""}`,
          `lr ${number(row.best_lr)}, ${count(seeds, "run")}`];
        return { x: x.value(row, step), y: middle, low, high, cell, told: told(row, lines, cell) };
      }) };
    });
  }

  function scatterLines(workload, mine, x, y) {
    const line = (of, value) => `${of.name(workload).replace(", %", "")} ${of.show ? of.show(workload, value) : number(value, 4)}`;
    const front = (row) => (picked(row) ? 1 : 0);
    return [...mine].sort((a, b) => front(a) - front(b) || b.index - a.index).map((row) => {
      const cell = row.cells.find((of) => of.lr === row.best_lr);
      const at = { x: x.value(row), y: y.value(row), cell };
      return { row, joined: false, points: [{ ...at, dot: true, told: told(row, [row.rank === null ? "" : `rank ${row.rank}`, line(x, at.x), line(y, at.y)], cell) }] };
    });
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------------------------

  const VIEWS = { 0.6: "best 60 %", 0.2: "best 20 %", 1: "whole range" }; // the share of what the lines span that a chart shows
  const ORDERS = 1e9; // a log axis goes no deeper below its top than this; what is lower, such as 0, lies on its floor

  function tick(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(6)).toExponential().replace("e+", "e");
    return Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 8 });
  }

  function evenTicks(low, high, most) {
    const rough = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((of) => of * power).find((of) => of >= rough * 0.999);
    const first = Math.ceil(low / step - 1e-9);
    return [...Array(Math.max(0, Math.floor(high / step + 1e-9) - first + 1)).keys()].map((i) => (first + i) * step);
  }

  function logTicks(low, high, most) {
    const powers = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) powers.push(p);
    const inside = (list) => list.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    const fine = inside(powers.flatMap((p) => [1, 2, 5].map((of) => of * 10 ** p)));
    if (fine.length <= most && fine.length > 1) return fine;
    const whole = inside(powers.map((p) => 10 ** p));
    if (whole.length > 1) return whole.filter((_, i) => i % Math.ceil(whole.length / most) === 0);
    return evenTicks(low, high, most);
  }

  function scale(values, { log, pad, better, view }) {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const floor = Math.max(Math.min(...values.filter((value) => value > 0)), high / ORDERS);
    const inLog = log && high > 0 && low >= 0 && high / floor >= log;
    const [into, back] = inLog ? [Math.log10, (v) => 10 ** v] : [(v) => v, (v) => v];
    if (inLog) low = floor;
    if (better > 0) low = back(into(high) - view * (into(high) - into(low)));
    if (better < 0) high = back(into(low) + view * (into(high) - into(low)));
    const span = into(high) - into(low) || Math.abs(into(high)) * 0.02 || 1;
    const [from, to] = [into(low) - pad * span, into(high) + pad * span];
    return {
      low: back(from), high: back(to), ticks: (most) => (inLog ? logTicks : evenTicks)(back(from), back(to), most),
      at: (value) => (inLog && value < low ? 0 : (into(value) - from) / (to - from)),
    };
  }

  function showChart(id) {
    const chart = CHARTS[id], chosen = state.axes[id];
    const [x, y] = [chart.x[chosen.x], chart.y[chosen.y]];
    const parts = viewed().map((workload) => [workload, chart.rows(workload)]).filter(([, mine]) => mine.length);
    const host = $(id).querySelector(".panels");
    const shown = parts.length ? parts : [[viewed()[0], []]];
    host.replaceChildren(...shown.map(() => el("div", { class: "panel" }))); // laid out first, so that their widths are known
    shown.forEach(([workload, mine], i) => {
      if (shown.length > 1) host.children[i].append(el("h3", {}, workload.name));
      panel(host.children[i], workload, chart.lines(workload, mine, x, y), { id, x, y, view: chosen.view, of: mine.length });
    });
  }

  let clips = 0;
  function panel(host, workload, lines, { id, x, y, view, of }) {
    const drawable = (point) => finite(point.x) && (finite(point.y) || point.y === Infinity);
    const drawn = lines.map((line) => ({ ...line, points: line.points.filter(drawable) })).filter((line) => line.points.length);
    const points = drawn.flatMap((line) => line.points);
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y).filter(finite);
    if (!points.length || !ys.length) {
      const why = of ? "Nothing is known of this measure here, or none reached the target." : id === "scatter" ? "No strategy fits the filters." : "Click rows of the table to see them here.";
      host.append(el("p", { class: "nothing" }, why));
      return;
    }
    const width = Math.max(240, host.clientWidth), height = Math.round(Math.min(320, Math.max(230, width * 0.74)));
    const bounds = view === 1 ? [...ys, ...points.flatMap((point) => [point.low, point.high]).filter(finite)] : ys;
    const across = scale(xs, { log: x.log, pad: id === "curve" ? 0.01 : 0.05 });
    const upward = scale(bounds, { log: y.better && y.better(workload) > 0 ? 0 : y.log, pad: 0.06, better: y.better && y.better(workload), view });
    const ticksY = upward.ticks(5), labelY = (value) => (y.tick ? y.tick(workload, value) : tick(value));
    const left = 10 + 6.4 * Math.max(...ticksY.map((value) => labelY(value).length)), right = 10, top = 22, bottom = 36;
    const px = (value) => left + across.at(value) * (width - left - right);
    const py = (value) => (value === Infinity ? top + 6 : height - bottom - upward.at(value) * (height - top - bottom));
    const labelX = (value) => (x.tick ? (x.tick.length > 1 ? x.tick(workload, value) : x.tick(value)) : tick(value));
    const nameX = typeof x.name === "string" ? x.name : x.name(workload);
    const clip = `clip-${(clips += 1)}`;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "group", "aria-roledescription": "chart",
      "aria-label": `${workload.name}: ${y.name(workload)} against ${nameX}, ${count(drawn.length, id === "scatter" ? "point" : "line")}. Arrow keys walk along the points, Enter opens the runs.` });
    svg.append(draw("clipPath", { id: clip }, draw("rect", { x: left, y: top, width: width - left - right, height: height - top - bottom })));
    for (const value of ticksY) {
      svg.append(draw("path", { class: "grid", d: `M${left},${py(value)}H${width - right}` }), draw("text", { x: left - 6, y: py(value) + 4, "text-anchor": "end" }, labelY(value)));
    }
    for (const value of across.ticks(Math.max(2, Math.floor((width - left) / 62)))) {
      svg.append(draw("path", { class: "frame", d: `M${px(value)},${height - bottom}v4` }), draw("text", { x: px(value), y: height - bottom + 16, "text-anchor": "middle" }, labelX(value)));
    }
    const better = y.better ? (y.better(workload) > 0 ? " (higher is better)" : " (lower is better)") : "";
    svg.append(draw("path", { class: "frame", d: `M${left},${height - bottom}H${width - right}` }),
      draw("text", { class: "label", x: 0, y: 12 }, y.name(workload), draw("tspan", { fill: "currentColor", "fill-opacity": 0.6 }, better)),
      draw("text", { class: "label", x: width - right, y: height - 4, "text-anchor": "end" }, nameX));
    const inside = draw("g", { "clip-path": `url(#${clip})` });
    if (y.show === metric && finite(workload.target) && upward.at(workload.target) > 0 && upward.at(workload.target) < 1) {
      inside.append(draw("path", { class: "target", d: `M${left},${py(workload.target)}H${width - right}` }));
      svg.append(draw("text", { class: "halo", x: width - right, y: py(workload.target) - 4, "text-anchor": "end" }, "target"));
    }
    for (const line of drawn) inside.append(series(line, px, py, height - bottom));
    svg.append(inside);
    host.append(svg);
    const lost = of - drawn.length;
    if (lost) host.append(el("p", { class: "lacking" }, `${count(lost, "strategy")} without these values ${lost === 1 ? "is" : "are"} not drawn.`));
    const placed = drawn.flatMap((line, n) => line.points.map((point, i) => ({ ...point, n, i, row: line.row, px: px(point.x), py: py(point.y) })))
      .filter((at) => at.py >= top - 1 && at.py <= height - bottom + 1);
    listen(host, svg, placed, { width, height });
  }

  function series(line, px, py, floor) {
    const { class: name, shape } = styleOf(line.row);
    const g = draw("g", { class: `series ${name}`, "data-row": line.row.index });
    const banded = line.points.filter((point) => finite(point.y) && known(point.low) && known(point.high));
    if (line.joined && banded.length > 1) {
      const edge = (side) => banded.map((point) => `${px(point.x)},${py(point[side])}`);
      g.append(draw("polygon", { class: "band", points: [...edge("high"), ...edge("low").reverse()].join(" ") }));
    }
    if (line.joined) {
      let pen = "M";
      const path = line.points.map((point) => {
        const part = finite(point.y) ? `${pen}${px(point.x).toFixed(1)},${py(point.y).toFixed(1)}` : "";
        pen = finite(point.y) ? "L" : "M";
        return part;
      });
      g.append(draw("path", { class: "line", d: path.join("") }));
    }
    for (const point of line.points) {
      if (point.dot) g.append(mark(`dot${picked(line.row) ? " picked" : ""}`, shape, px(point.x), py(point.y), picked(line.row) ? 5 : 3.6));
      else if (point.y === Infinity) g.append(mark("", 2, px(point.x), py(point.y), 3));
      else if (point.marked) g.append(mark(point.full ? "full" : "", shape, px(point.x), py(point.y), point.full ? 4 : 2.8));
      if (point.cross) g.append(mark("cross", 0, px(point.x), floor - 6));
    }
    return g;
  }

  // ---- pointing at a chart, with the mouse, a finger or the keyboard -----------------------------------------------------------------

  function listen(host, svg, placed, { width, height }) {
    const tip = el("div", { class: "tip", role: "status", hidden: true });
    const focus = draw("circle", { class: "mark focus", r: 6, visibility: "hidden" });
    svg.append(focus);
    host.append(tip);
    let at = null;

    function point(next) {
      at = next;
      tip.hidden = !at;
      focus.setAttribute("visibility", at ? "visible" : "hidden");
      lightUp(at && at.row);
      if (!at) return;
      focus.setAttribute("cx", at.px);
      focus.setAttribute("cy", at.py);
      tip.replaceChildren(...at.told());
      const zoom = svg.clientWidth / width, left = at.px * zoom, low = at.py * zoom + svg.getBoundingClientRect().top - host.getBoundingClientRect().top;
      tip.style.left = `${Math.max(0, Math.min(left + 14, host.clientWidth - tip.offsetWidth))}px`;
      const above = low - tip.offsetHeight - 12;
      tip.style.top = `${left + 14 + tip.offsetWidth <= host.clientWidth ? Math.max(0, low - tip.offsetHeight / 2) : above > 0 ? above : low + 14}px`;
    }

    function nearest(event) {
      const box = svg.getBoundingClientRect();
      const [x, y] = [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
      let [best, found] = [60 ** 2, null];
      for (const of of placed) {
        const distance = (of.px - x) ** 2 + (of.py - y) ** 2;
        if (distance < best || (distance === best && found && of.row.index < found.row.index)) [best, found] = [distance, of];
      }
      return found;
    }

    function walk(along, lines) {
      if (!at) return placed[0];
      if (along) return placed.find((of) => of.n === at.n && of.i === at.i + along) || beside(along);
      return beside(lines);
    }
    function beside(by) {
      const numbers = [...new Set(placed.map((of) => of.n))];
      const n = numbers[(numbers.indexOf(at.n) + by + numbers.length) % numbers.length];
      return placed.filter((of) => of.n === n).reduce((a, b) => (Math.abs(b.px - at.px) < Math.abs(a.px - at.px) ? b : a));
    }

    const MOVES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("pointermove", (event) => point(nearest(event)));
    svg.addEventListener("pointerleave", () => point(null));
    svg.addEventListener("blur", () => point(null));
    svg.addEventListener("click", (event) => {
      const found = nearest(event);
      if (!found) return;
      const seen = event.pointerType !== "touch" || (at && at.row === found.row && at.i === found.i && !tip.hidden && svg.dataset.touched === "yes");
      svg.dataset.touched = "yes";
      point(found);
      if (seen) openRuns(found.row, found.cell);
    });
    svg.addEventListener("keydown", (event) => {
      if (MOVES[event.key]) point(walk(...MOVES[event.key]));
      else if (event.key === "Enter" && at) openRuns(at.row, at.cell);
      else if (event.key === "Escape") point(null);
      else return;
      event.preventDefault();
    });
  }

  function showCharts() {
    orderAxis();
    markPicked();
    Object.keys(CHARTS).forEach(showChart);
    $("charts").classList.toggle("many", state.workload === null && workloads.length > 1);
    showLegend();
  }

  function buildAxes(id) {
    const chart = CHARTS[id], chosen = state.axes[id];
    const options = (of) => Object.entries(of).map(([value, axis]) => el("option", { value }, typeof axis.name === "string" ? axis.name : axis.name({ metric: "metric" })));
    const chooser = (side) => {
      if (!(chosen[side] in chart[side])) [chosen[side]] = Object.keys(chart[side]);
      const select = el("select", { onchange: (event) => { chosen[side] = event.target.value; showChart(id); } }, options(chart[side]));
      select.value = chosen[side];
      return el("label", {}, `${side} `, select);
    };
    const ranges = Object.entries(VIEWS).sort(([a], [b]) => a - b).map(([value, name]) => el("option", { value }, name));
    const range = el("select", { "aria-label": "range of y", onchange: (event) => { chosen.view = Number(event.target.value); showChart(id); } }, ranges);
    range.value = String(chosen.view);
    $(id).querySelector("h2").after(range);
    $(id).querySelector(".axes").append(chooser("y"), chooser("x"));
  }

  // ---- the runs under a number -----------------------------------------------------------------------------------------------------

  let opened = null;
  function openRuns(row, here) {
    opened = row;
    const workload = row.workload;
    $("runs-name").textContent = row.name;
    const best = row.rank === null ? "no run finished" : `rank ${row.rank}, best lr ${number(row.best_lr)}, usable from ${number(row.usable_low)} to ${number(row.usable_high)}`;
    const stable = known(row.largest_stable) ? `; largest stable lr ${row.largest_stable_shown}` : "";
    $("runs-about").textContent = `${workload.name}, target ${workload.metric} ${workload.higher ? "≥" : "≤"} ${metric(workload, workload.target)}: ${best}${stable}`;
    const head = ["lr", "Validation", "Median and range", "Median loss", "Steps", "Reached", "Diverged", "Keys: click one for its command"];
    const body = row.cells.map((cell) => el("tr", { class: cell === here ? "here" : "" },
      [number(cell.lr), withInterval(metric(workload, cell.metric), interval(cell.metric_low, cell.metric_high, (v) => bare(workload, v))),
        withInterval(metric(workload, cell.middle), interval(cell.least, cell.most, (v) => bare(workload, v))), number(cell.loss, 4), number(cell.steps),
        `${cell.reached} of ${cell.runs}`, `${cell.diverged || "-"}${cell.crashed ? `, ${cell.crashed} crashed` : ""}`]
        .map((text, i) => el("td", { class: "number" }, i === 0 && cell.lr === row.best_lr ? [el("b", {}, text)] : text)),
      el("td", { class: "keys" }, keyButtons(cell))));
    $("runs-table").replaceChildren(el("thead", {}, el("tr", {}, head.map((text, i) => el("th", { scope: "col", class: i < 7 ? "number" : "" }, text)))), el("tbody", {}, body));
    const first = (here || row.cells.find((cell) => cell.lr === row.best_lr) || row.cells[0]).keys.split(" ")[0];
    command(first);
    labelPick();
    $("runs").showModal();
  }

  function keyButtons(cell) {
    const keys = cell.keys.split(" ");
    const more = cell.runs - keys.length;
    const buttons = keys.map((key) => el("button", { type: "button", onclick: () => { command(key); copy(); } }, key));
    return more > 0 ? [...buttons, ` and ${count(more, "more")}`.replace(/s$/, ""), " in summary.csv"] : buttons;
  }

  function labelPick() { $("runs-pick").textContent = picked(opened) ? "Take out of the charts" : "Show in the charts"; }

  function command(key) {
    $("command").textContent = `lrbench show ${key}`;
    $("copied").textContent = "";
  }

  async function copy() {
    const done = () => { $("copied").textContent = "Copied."; };
    try {
      await navigator.clipboard.writeText($("command").textContent);
      done();
    } catch {
      getSelection().selectAllChildren($("command")); // where the clipboard is closed to the page, the old way or the reader's own hand
      if (document.execCommand("copy")) done();
      else $("copied").textContent = "Selected: copy it with the keyboard.";
    }
  }

  // ---- the controls ----------------------------------------------------------------------------------------------------------------

  function show() {
    state.shown = PAGE;
    orderAxis();
    showTable();
    showCharts();
  }

  function buildWorkloads() {
    const card = (index, parts) => {
      const radio = el("input", { type: "radio", name: "workload", value: index ?? "all", onchange: () => { state.workload = index; offer(); show(); } });
      radio.checked = state.workload === index;
      return el("label", { class: "card" }, radio, parts);
    };
    for (const workload of workloads) {
      const mine = rows.filter((row) => row.workload === workload), best = mine.find((row) => row.rank === 1);
      const alike = mine.filter((row) => row.alike).length, others = mine.filter((row) => row.rank !== null).length - 1;
      const facts = best ? [el("span", { class: "figure" }, metric(workload, best.metric), el("small", {}, ` ${workload.metric}`)), el("span", { class: "best" }, words(best.name)),
        el("span", {}, others > 0 ? `lr ${number(best.best_lr)}; ${alike} of ${others} others tied` : `lr ${number(best.best_lr)}; no other was run`)] : [el("span", {}, "no run finished")];
      $("workloads").append(card(workload.index, [el("b", { title: workload.meaning }, workload.name), facts]));
    }
    if (workloads.length > 1) {
      $("workloads").append(card(null, [el("b", {}, "All workloads"), el("span", { class: "figure" }, String(workloads.length)), el("span", {}, count(rows.length, "row"))]));
    }
  }

  function offer() {
    for (const axis of AXES) {
      const values = [...new Set(rows.filter(inView).map((row) => row[axis]))].sort((a, b) => a.localeCompare(b, "en"));
      if (!values.includes(state[axis])) state[axis] = "";
      $(`filter-${axis}`).replaceChildren(el("option", { value: "" }, `all ${values.length}`), ...values.map((value) => el("option", { value }, value)));
      $(`filter-${axis}`).value = state[axis];
    }
  }

  function reset() {
    Object.assign(state, { search: "", optimizer: "", layer_lr: "", schedule: "", only: "", colour: "strategy", sort: "rank", down: false });
    for (const [id, value] of [["search", ""], ["filter-only", ""], ["colour", "strategy"]]) $(id).value = value;
    state.slots.clear();
    pickFirst();
    offer();
    show();
  }

  function buildTheme() {
    const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const mark = () => $("theme").setAttribute("aria-pressed", String(dark()));
    $("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      mark();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", mark);
    mark();
  }

  function showNotes() {
    const { limits, left_out: out, study } = data;
    const cut = [
      out.rows ? `${count(out.rows, "strategy")} of the lowest ranks` : "",
      out.curves ? `the curves of ${count(out.curves, "strategy")} of the lowest ranks` : "",
      out.keys ? count(out.keys, "run key") : "",
      out.thinned ? `evaluations of ${count(out.thinned, "curve")}` : "",
    ].filter(Boolean).join("; ");
    $("limits").textContent = `This file holds at most ${count(limits.rows, "row")}, ${limits.cells.toLocaleString("en-US")} outcomes at an lr, ${limits.keys} keys of each, ` +
      `${limits.curves} curves of ${limits.points} points, and five digits of every value. ${cut ? `Left out: ${cut}. summary.csv has all strategies and keys.` : "Nothing had to be left out."}`;
    if (!study.warnings.length) return;
    $("warnings").hidden = false;
    $("warnings").open = study.warnings.length <= 3;
    $("warnings").querySelector("summary").textContent = count(study.warnings.length, "warning");
    $("warnings").querySelector("ul").append(...study.warnings.map((line) => el("li", {}, line)));
  }

  function listenToControls() {
    const change = (id, name) => $(id).addEventListener("input", (event) => { state[name] = event.target.value; show(); });
    change("search", "search");
    change("filter-only", "only");
    change("colour", "colour");
    AXES.forEach((axis) => change(`filter-${axis}`, axis));
    $("reset").addEventListener("click", reset);
    $("clear").addEventListener("click", () => { rows.filter(inView).forEach((row) => state.slots.delete(row.index)); showTable(); showCharts(); });
    $("more").addEventListener("click", () => { state.shown += PAGE; showTable(); });
    $("runs-close").addEventListener("click", () => $("runs").close());
    $("runs-pick").addEventListener("click", () => { toggle(opened); labelPick(); });
    $("copy").addEventListener("click", copy);
    $("runs").addEventListener("click", (event) => { if (event.target === $("runs")) $("runs").close(); });
    let width = $("charts").clientWidth;
    new ResizeObserver(() => {
      if ($("charts").clientWidth === width) return;
      width = $("charts").clientWidth;
      showCharts();
    }).observe($("charts"));
  }

  buildTheme();
  showNotes();
  if (!rows.length) {
    $("empty").hidden = false;
    return;
  }
  $("main").hidden = false;
  const sizes = workloads.map((workload) => rows.filter((row) => row.workload === workload).length);
  state.workload = sizes.indexOf(Math.max(...sizes));
  Object.keys(CHARTS).forEach(buildAxes);
  buildHead();
  buildWorkloads();
  pickFirst();
  offer();
  show();
  listenToControls();
})();
