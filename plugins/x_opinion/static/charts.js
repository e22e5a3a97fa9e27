// Draws visuals with Apache ECharts: lines with their intervals, bars with whiskers, the world.
import * as echarts from "./vendor/echarts.esm.min.js";
import { element } from "./dom.js";
import { certainty, country, dayTime, figure, language, moment, whole } from "./format.js";

const WORLD = "world";
const HOUR = 3600e3;
const COLORS = {
  light: ["#1d5fae", "#b8500a", "#1f7a4d", "#8637a3", "#a52a4c", "#2b7480"],
  dark: ["#7fb8f5", "#f5a663", "#7ed6a5", "#d2a0ec", "#f495ab", "#80d0da"],
};
const DIVERGING = {
  light: ["#b2421a", "#e9a57c", "#eceae4", "#7fc1b4", "#0f766e"],
  dark: ["#f08a54", "#a35a34", "#4a4f5a", "#2f8577", "#4fd1bd"],
};

const theme = () => document.documentElement.dataset.theme;
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const NAMES = { country_code: country, lang: language };

/** A value of a column as people read it: topics by their titles, codes by their names. */
export const named = (column, value, titles) =>
  NAMES[column]?.(value) ?? (column === "topic" ? (titles[value] ?? value) : column === "hour" ? dayTime(moment(value)) : value);

/** Below this many tweets a country or a language is hatched: its figure says little. */
export const FEW = 30;

/** Where the maps' scale ends: few countries lie beyond, and they have the color of the end. */
const MAP_END = 0.5;

/** Registers the map's shapes; has to be done once before a map is drawn. */
export async function loadWorld(url) {
  if (echarts.getMap(WORLD)) return;
  const response = await fetch(url);
  const shapes = await response.json();
  echarts.registerMap(WORLD, shapes);
  document.documentElement.style.setProperty("--map-aspect", aspect(shapes));
}

/** Width by height of the projected shapes: a map's place has the same, so that nothing is stretched. */
function aspect({ features }) {
  const points = features.flatMap(({ geometry }) => geometry.coordinates.flat(geometry.type === "MultiPolygon" ? 2 : 1)).map(EQUAL_EARTH.project);
  const span = (place) => points.reduce((found, point) => Math.max(found, point[place]), -Infinity) - points.reduce((found, point) => Math.min(found, point[place]), Infinity);
  return span(0) / span(1);
}

/**
 * The axis of a chart's values: where a value stands on it (`to`), its ends, its steps, and what it says there.
 * Ratios stand on a logarithmic axis, on which 2 : 1 is as far from 1 : 1 as 1 : 2; shares end at 100 %.
 */
function scale(visual, place) {
  const ends = (roles) => visual.rows.flatMap((row) => roles.map((role) => row[place[role]])).filter((value) => Number.isFinite(value));
  if (place.format === "ratio") {
    const values = ends(["value"]).filter((value) => value > 0).map(Math.log2);
    const bounds = ends(["low", "high"]).filter((value) => value > 0).map(Math.log2);
    // A bound next to nothing or to no end must not squeeze the values together.
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const min = Math.floor(Math.max(Math.min(low, ...bounds), low - 3) + 1e-9);
    const max = Math.max(min + 1, Math.ceil(Math.min(Math.max(high, ...bounds), high + 3) - 1e-9));
    const to = (value) => (value <= 0 ? min : Math.min(max, Math.max(min, Math.log2(value))));
    return { to, min, max, interval: Math.ceil((max - min) / 8), one: 0, label: (at) => figure(2 ** at, "ratio") };
  }
  if (place.format === "percent") {
    const values = ends(["value", "low", "high"]);
    const bar = visual.kind === "bar" ? [0] : [];
    const [low, high] = [Math.min(...bar, ...values), Math.max(...bar, ...values)];
    const rough = (high - low || 0.1) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const interval = power * [1, 2, 2.5, 5, 10].find((step) => step * power >= rough);
    const min = Math.max(low < 0 ? -1 : 0, Math.floor(low / interval + 1e-9) * interval);
    const max = Math.min(1, Math.ceil(high / interval - 1e-9) * interval);
    return values.length ? { to: (value) => value, min, max, interval, label: (at) => figure(at, interval < 0.01 ? "percent" : "percent0") }
      : { to: (value) => value, min: 0, max: 1, label: (at) => figure(at, "percent0") };
  }
  return { to: (value) => value, min: 0, minInterval: 1, label: (at) => figure(at, place.format) };
}

/** A texture of gray strokes or dots, which no topic's color resembles. */
function texture(dots) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.strokeStyle = pen.fillStyle = token("--hatch");
  pen.lineWidth = 1.5;
  if (dots) pen.arc(4, 4, 1.2, 0, 2 * Math.PI), pen.fill();
  else for (const from of [-8, 0, 8]) pen.moveTo(from, 8), pen.lineTo(from + 8, 0);
  pen.stroke();
  return { image: tile, repeat: "repeat" };
}

const fewDecal = () => ({ symbol: "rect", color: token("--panel"), dashArrayX: [1, 0], dashArrayY: [3, 4], rotation: -Math.PI / 4 });
const isFew = (row, place) => place.n >= 0 && row[place.n] !== null && row[place.n] < FEW;

/** Where each column stands, by role: dimensions, series, value, low, high, n. */
export function roles(visual) {
  const at = (role) => visual.columns.findIndex((column) => column.role === role);
  const format = visual.columns[at("value")]?.format ?? "number";
  return { dimension: 0, series: at("series"), value: at("value"), low: at("low"), high: at("high"), n: at("n"), audit: at("audit"), format };
}

function series(visual, titles) {
  const place = roles(visual);
  const found = new Map();
  for (const row of visual.rows) {
    const key = place.series < 0 ? "" : row[place.series];
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(row);
  }
  const order = Object.keys(titles);
  const rank = (key) => (order.includes(key) ? order.indexOf(key) : order.length);
  return [...found].sort(([a], [b]) => rank(a) - rank(b));
}

const base = () => ({
  useUTC: true,
  animation: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
  animationDuration: 300,
  backgroundColor: "transparent",
  color: COLORS[theme()],
  textStyle: { color: token("--fg"), fontFamily: getComputedStyle(document.body).fontFamily },
  aria: { enabled: true },
});

const tooltip = () => ({
  confine: true,
  backgroundColor: token("--panel"),
  borderColor: token("--line-strong"),
  textStyle: { color: token("--fg"), fontSize: 13 },
  extraCssText: "box-shadow: var(--shadow); border-radius: 8px; max-width: 340px; white-space: normal;",
});

/** Where a tooltip's point leads to. */
const hint = (where) => element("div", { class: "tip-mark" }, `A click, or the arrow keys, lead to ${where}.`);
const TWEETS = "some of its tweets";

/** Value, interval and n of a row, as lines of a tooltip. */
function figures(row, place, title, color) {
  const interval = place.low >= 0 && row[place.low] !== null
    ? `${figure(row[place.low], place.format)} to ${row[place.high] === null ? "∞" : figure(row[place.high], place.format)} (${certainty(row[place.audit])})` : null;
  return element("div", { class: "tip-row" },
    element("span", { class: "dot", style: `background:${color}` }),
    element("span", {}, title),
    element("b", {}, figure(row[place.value], place.format)),
    element("small", {}, [interval, place.n >= 0 && row[place.n] !== null ? `n = ${whole(row[place.n])}` : null].filter(Boolean).join(", ")),
  );
}

/** Points with an empty one where an hour or a day is missing, so that no line is drawn across it. */
function broken(points) {
  const steps = points.slice(1).map(([at], index) => at - points[index][0]);
  const step = Math.min(...steps);
  return points.flatMap((point, index) => (steps[index] > 1.5 * step ? [point, [point[0] + step, null]] : [point]));
}

/** A line a series over time, its interval as a band, gaps shaded, changes of method as dashed lines. */
function line(visual, titles, events) {
  const place = roles(visual);
  const colors = COLORS[theme()];
  const axis = scale(visual, place);
  const drawn = [];
  const byTime = new Map();
  const names = [];
  series(visual, titles).forEach(([key, rows], position) => {
    const name = titles[key] ?? key;
    const color = colors[position % colors.length];
    names.push(name);
    const points = rows.map((row) => [moment(row[0]).getTime(), row]);
    for (const [at, row] of points) {
      if (!byTime.has(at)) byTime.set(at, []);
      byTime.get(at).push({ row, name, color });
    }
    const spaced = broken(points);
    if (rows.some((row) => row[place.low] !== null)) {
      const band = (id, value, area) => ({
        type: "line", id: `${id}-${position}`, name, stack: `band-${position}`, symbol: "none", silent: true,
        lineStyle: { opacity: 0 }, areaStyle: area, tooltip: { show: false }, stackStrategy: "all",
        data: spaced.map(([at, row]) => [at, row && value(row)]),
      });
      // A ratio's interval without a bound goes to the axis's end.
      const top = (row) => row[place.high] ?? (axis.one === undefined ? null : Infinity);
      const bounded = (row) => row[place.low] !== null && top(row) !== null;
      drawn.push(
        band("low", (row) => (bounded(row) ? axis.to(row[place.low]) : null)),
        band("high", (row) => (bounded(row) ? axis.to(top(row)) - axis.to(row[place.low]) : null), { color, opacity: 0.16 }),
      );
    }
    drawn.push({
      type: "line", name, color, symbol: "circle", symbolSize: 5, showSymbol: points.length <= 60,
      lineStyle: { width: 2 }, connectNulls: false, emphasis: { focus: "none" }, z: 3,
      data: spaced.map(([at, row]) => [at, row && (row[place.value] === null ? null : axis.to(row[place.value]))]),
    });
  });
  drawn.push(marked(visual.marks, axis, events));
  return {
    ...base(),
    grid: { left: 8, right: 16, top: 34, bottom: 6, containLabel: true },
    legend: { type: "scroll", top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 4, data: names, textStyle: { color: token("--fg") } },
    xAxis: {
      type: "time", axisLine: { onZero: false, lineStyle: { color: token("--line-strong") } },
      axisLabel: { color: token("--fg-muted"), hideOverlap: true, formatter: { day: "{d} {MMM}", hour: "{HH}:{mm}" } }, splitLine: { show: false },
    },
    yAxis: valueAxis(axis),
    tooltip: {
      ...tooltip(), trigger: "axis", axisPointer: { type: "line", lineStyle: { color: token("--line-strong") } },
      formatter: (found) => {
        const at = found.find(({ value }) => value)?.value[0];
        return element("div", {},
          element("div", { class: "tip-head" }, `${dayTime(new Date(at))} UTC`),
          (byTime.get(at) ?? []).map(({ row, name, color }) => figures(row, place, name, color)),
          marksAt(visual, at).map((mark) => element("div", { class: "tip-mark" }, told(mark, titles))),
          hint("its coverage and runs"));
      },
    },
    series: drawn,
  };
}

/** The marks that concern a point at that time. */
export const marksAt = (visual, at) =>
  visual.marks.filter((mark) => moment(mark.from) < at + visual.hours * HOUR && at < moment(mark.to));

/** What a mark says. */
export const told = (mark, titles) => {
  const topic = titles[mark.topic] ?? mark.topic;
  return mark.kind === "gap" ? `Gap, ${topic}: ${mark.label}` : mark.kind === "search" ? `${topic}: ${mark.label}` : `${mark.label} changed: ${topic}`;
};

const valueAxis = (axis) => ({
  type: "value", min: axis.min, max: axis.max, interval: axis.interval, minInterval: axis.minInterval,
  splitLine: { lineStyle: { color: token("--line") } },
  axisLabel: { color: token("--fg-muted"), hideOverlap: true, formatter: axis.label },
});

/** Stretches with a gap or by another method in one of the topics as areas, changes as lines; a line at 1. */
function marked(marks, axis, events) {
  const areas = new Map();
  const changes = new Map();
  const hours = new Set();
  for (const mark of marks) {
    if (mark.kind !== "change") {
      areas.set(`${mark.kind} ${mark.from} ${mark.to}`, mark);
      for (let at = moment(mark.from).getTime(); at < moment(mark.to); at += HOUR) hours.add(at);
    } else changes.set(mark.from, new Set([...(changes.get(mark.from) ?? []), ...mark.label.split(",")]));
  }
  const textures = { gap: texture(false), search: texture(true) };
  const one = axis.one === undefined ? [] : [{ name: "1 : 1", yAxis: axis.one, lineStyle: { type: "solid", color: token("--fg-muted") }, label: { position: "insideStartTop" } }];
  return {
    // Points without a value: their hours have a tooltip, which tells why.
    type: "line", id: "marks", symbol: "none", data: [...hours].sort((a, b) => a - b).map((at) => [at, null]),
    markArea: {
      silent: true,
      data: [...areas.values()].map((mark) => [{ xAxis: moment(mark.from).getTime(), itemStyle: { color: textures[mark.kind] } }, { xAxis: moment(mark.to).getTime() }]),
    },
    markLine: {
      silent: true, symbol: "none", lineStyle: { color: token("--fg-muted"), type: [4, 4], width: 1 },
      label: { color: token("--fg-muted"), fontSize: 11, position: "insideEndTop", formatter: ({ name }) => name },
      labelLayout: { hideOverlap: true },
      data: [...one, ...events.map(({ day, title }) => ({ name: title, xAxis: moment(day).getTime(), lineStyle: { type: "solid", color: token("--accent"), width: 1.5 }, label: { color: token("--accent") } })), ...[...changes].map(([from, what]) => ({ name: [...what].join(", "), xAxis: moment(from).getTime() }))],
    },
  };
}

/** A bar a category and series, from zero, with its interval as a whisker. */
function bar(visual, titles, events, pick) {
  const place = roles(visual);
  const colors = COLORS[theme()];
  const axis = scale(visual, place);
  const dimension = visual.columns[0].name;
  const categories = [...new Set(visual.rows.map((row) => row[0]))].reverse();
  const found = series(visual, titles);
  const drawn = found.flatMap(([key, rows], position) => {
    const name = titles[key] ?? key;
    const color = colors[position % colors.length];
    const byCategory = new Map(rows.map((row) => [row[0], row]));
    return [
      { type: "bar", name, color, barMaxWidth: 12, barGap: "15%", itemStyle: { borderRadius: 2, opacity: 0.85 },
        data: categories.map((category) => {
          const row = byCategory.get(category);
          const value = row?.[place.value] ?? null;
          return { value: value === null ? null : axis.to(value), itemStyle: row && isFew(row, place) ? { decal: fewDecal() } : {} };
        }) },
      { type: "custom", name, silent: true, z: 4, tooltip: { show: false },
        data: categories.flatMap((category, index) => {
          const row = byCategory.get(category);
          return row && row[place.low] !== null && row[place.high] !== null ? [[axis.to(row[place.low]), axis.to(row[place.high]), index]] : [];
        }),
        encode: { x: [0, 1], y: 2 },
        renderItem: (_, api) => whisker(api, found.length, position) },
    ];
  });
  const rows = new Map(categories.map((category) => [category, found.flatMap(([key, all], position) =>
    all.filter((row) => row[0] === category).map((row) => ({ row, name: titles[key] ?? key, color: colors[position % colors.length] })))]));
  return {
    ...base(),
    grid: { left: 8, right: 20, top: 34, bottom: 6, containLabel: true },
    legend: { type: "scroll", top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 8, data: found.map(([key]) => titles[key] ?? key), textStyle: { color: token("--fg") } },
    xAxis: valueAxis(axis),
    yAxis: { type: "category", data: categories, axisTick: { show: false }, axisLine: { lineStyle: { color: token("--line-strong") } },
      axisLabel: { color: token("--fg"), width: 130, overflow: "truncate", formatter: (value) => named(dimension, value, titles) } },
    tooltip: {
      ...tooltip(), trigger: "axis", axisPointer: { type: "shadow" },
      formatter: ([{ axisValue }]) => element("div", {},
        element("div", { class: "tip-head" }, named(dimension, axisValue, titles)),
        (rows.get(axisValue) ?? []).map(({ row, name, color }) => figures(row, place, name, color)), pick ? hint(TWEETS) : []),
    },
    series: drawn,
  };
}

function whisker(api, count, position) {
  const low = api.coord([api.value(0), api.value(2)]);
  const high = api.coord([api.value(1), api.value(2)]);
  const layout = api.barLayout({ barMaxWidth: 12, barGap: "15%", count });
  const y = low[1] + layout[position].offsetCenter;
  const style = { stroke: token("--fg"), lineWidth: 1.2 };
  const segment = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
  return { type: "group", children: [segment(low[0], y, high[0], y), segment(low[0], y - 3, low[0], y + 3), segment(high[0], y - 3, high[0], y + 3)] };
}

/** Countries colored by their value, on the same scale whatever is shown; those with few tweets are hatched. */
function map(visual, titles, events, pick) {
  const place = roles(visual);
  const byCode = new Map(visual.rows.map((row) => [row[0], row]));
  return {
    ...base(),
    visualMap: {
      type: "continuous", min: -MAP_END, max: MAP_END, calculable: false, left: 4, bottom: 0, itemHeight: window.innerWidth > 900 ? 90 : 30, itemWidth: 10,
      text: [`≥ ${figure(MAP_END, "percent0")}`, `≤ ${figure(-MAP_END, "percent0")}`], inRange: { color: DIVERGING[theme()] }, textStyle: { color: token("--fg-muted"), fontSize: 11 },
    },
    tooltip: {
      ...tooltip(), trigger: "item",
      formatter: ({ name }) => element("div", {},
        element("div", { class: "tip-head" }, country(name)),
        byCode.has(name) ? [figures(byCode.get(name), place, visual.columns[place.value].title ?? "", "transparent"),
          isFew(byCode.get(name), place) ? element("div", { class: "tip-mark" }, `fewer than ${FEW} tweets`) : null, pick ? hint(TWEETS) : null]
          : element("div", {}, "No tweets with a place there")),
    },
    series: [{
      type: "map", map: WORLD, roam: false, left: 0, right: 0, top: 0, bottom: 0, projection: EQUAL_EARTH, selectedMode: false,
      itemStyle: { areaColor: token("--muted-bg"), borderColor: token("--line-strong"), borderWidth: 0.5 },
      emphasis: { label: { show: false }, itemStyle: { areaColor: null, borderColor: token("--fg"), borderWidth: 1.5 } },
      data: visual.rows.map((row) => ({ name: row[0], value: Math.max(-MAP_END, Math.min(MAP_END, row[place.value])), itemStyle: isFew(row, place) ? { decal: fewDecal() } : {} })),
    }],
  };
}

// Equal Earth (B. Šavrič, T. Patterson and B. Jenny, 2018): areas keep their sizes.
const A = [1.340264, -0.081106, 0.000893, 0.003796];
const ROOT3 = Math.sqrt(3);
const EQUAL_EARTH = {
  project([longitude, latitude]) {
    const theta = Math.asin((ROOT3 / 2) * Math.sin((latitude * Math.PI) / 180));
    const t2 = theta * theta;
    const t6 = t2 * t2 * t2;
    const x = ((longitude * Math.PI) / 180) * Math.cos(theta) / ((ROOT3 / 2) * (A[0] + 3 * A[1] * t2 + t6 * (7 * A[2] + 9 * A[3] * t2)));
    return [x, -theta * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2))];
  },
  unproject([x, negative]) {
    const y = -negative;
    let theta = y;
    for (let step = 0; step < 12; step += 1) {
      const t2 = theta * theta;
      const t6 = t2 * t2 * t2;
      theta -= (theta * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2)) - y) / (A[0] + 3 * A[1] * t2 + t6 * (7 * A[2] + 9 * A[3] * t2));
    }
    const t2 = theta * theta;
    const t6 = t2 * t2 * t2;
    const longitude = ((ROOT3 / 2) * x * (A[0] + 3 * A[1] * t2 + t6 * (7 * A[2] + 9 * A[3] * t2))) / Math.cos(theta);
    return [(longitude * 180) / Math.PI, (Math.asin(Math.sin(theta) / (ROOT3 / 2)) * 180) / Math.PI];
  },
};

const KINDS = { line, bar, map };

/** How tall a visual is drawn, in pixels, known before it is; null: as its place's style says. */
export function height(visual) {
  if (visual.kind === "map") return null;
  if (visual.kind !== "bar") return 300;
  const place = roles(visual);
  const categories = new Set(visual.rows.map((row) => row[0])).size;
  const each = Math.max(1, new Set(visual.rows.map((row) => row[place.series])).size);
  return Math.max(160, 70 + categories * (10 + 15 * each));
}

/** What can be chosen in a chart, in order: of one over time its points and the hours of gaps, else languages or countries. */
export function pointsOf(visual) {
  if (visual.kind !== "line") return [...new Set(visual.rows.map((row) => row[0]))];
  const hours = visual.marks.filter((mark) => mark.kind !== "change").flatMap((mark) => {
    const [from, to] = [moment(mark.from).getTime(), moment(mark.to).getTime()];
    return Array.from({ length: (to - from) / HOUR }, (_, hour) => from + hour * HOUR);
  });
  return [...new Set([...visual.rows.map((row) => moment(row[0]).getTime()), ...hours])].sort((one, other) => one - other);
}

/** Shows the tooltip of a point. */
export function pointAt(place, visual, point) {
  const chart = chartOf(place);
  const [x, y] = [chart.getWidth() / 2, chart.getHeight() / 2];
  const where = {
    line: () => ({ x: chart.convertToPixel({ xAxisIndex: 0 }, point), y }),
    bar: () => ({ x, y: chart.convertToPixel({ yAxisIndex: 0 }, point) }),
    map: () => ({ seriesIndex: 0, name: point }),
  };
  chart.dispatchAction({ type: "showTip", ...where[visual.kind]() });
}

/** What is clicked in a chart: the time nearest to it, the bars of its height, the country; nothing elsewhere. */
const CLICKED = {
  line: (chart, points, x, y) => {
    if (!chart.containPixel("grid", [x, y])) return undefined;
    const at = chart.convertFromPixel({ xAxisIndex: 0 }, x);
    return points.reduce((best, time) => (Math.abs(time - at) < Math.abs(best - at) ? time : best));
  },
  bar: (chart, points, x, y) =>
    (chart.containPixel("grid", [chart.getWidth() / 2, y]) ? points.at(-1 - chart.convertFromPixel({ yAxisIndex: 0 }, y)) : undefined),
};

/** Calls `pick` with the point that is clicked. */
function pickable(chart, visual, pick) {
  const points = pointsOf(visual);
  if (visual.kind === "map") {
    chart.off("click");
    chart.on("click", ({ name }) => points.includes(name) && pick(name));
    return;
  }
  chart.getZr().off("click");
  chart.getZr().on("click", ({ offsetX, offsetY }) => {
    const point = points.length ? CLICKED[visual.kind](chart, points, offsetX, offsetY) : undefined;
    if (point !== undefined) pick(point);
  });
}

/** Draws a visual into a place, or redraws it there; `titles` are the topics' by their names; `pick` may be left out. */
export function draw(place, visual, titles, events, pick) {
  const chart = echarts.getInstanceByDom(place) ?? echarts.init(place, null, { renderer: "canvas" });
  chart.setOption(KINDS[visual.kind](visual, titles, events, pick), { notMerge: true });
  chart.resize();
  if (pick) pickable(chart, visual, pick);
}

/** The chart in a place; undefined where none is drawn. */
export const chartOf = (place) => echarts.getInstanceByDom(place);

/** Lets a chart go before its place goes. */
export const dispose = (place) => chartOf(place)?.dispose();

/** Draws in the place's present size. */
export const resize = (place) => echarts.getInstanceByDom(place)?.resize();
