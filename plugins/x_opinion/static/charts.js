// Draws visuals with Apache ECharts: lines with their intervals, bars with whiskers, the world.
import * as echarts from "./vendor/echarts.esm.min.js";
import { element } from "./dom.js";
import { certainty, country, dayTime, figure, language, moment, whole } from "./format.js";

const WORLD = "world";
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

/** Registers the map's shapes; has to be done once before a map is drawn. */
export async function loadWorld(url) {
  if (echarts.getMap(WORLD)) return;
  const response = await fetch(url);
  echarts.registerMap(WORLD, await response.json());
}

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
function line(visual, titles) {
  const place = roles(visual);
  const colors = COLORS[theme()];
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
      const bounded = (row) => row[place.low] !== null && row[place.high] !== null;
      drawn.push(
        band("low", (row) => (bounded(row) ? row[place.low] : null)),
        band("high", (row) => (bounded(row) ? row[place.high] - row[place.low] : null), { color, opacity: 0.16 }),
      );
    }
    drawn.push({
      type: "line", name, color, symbol: "circle", symbolSize: 5, showSymbol: points.length <= 60,
      lineStyle: { width: 2 }, connectNulls: false, emphasis: { focus: "none" }, z: 3,
      data: spaced.map(([at, row]) => [at, row && row[place.value]]),
    });
  });
  if (drawn.length) Object.assign(drawn.at(-1), marked(visual.marks));
  const percent = place.format === "percent";
  return {
    ...base(),
    grid: { left: 8, right: 16, top: 34, bottom: 6, containLabel: true },
    legend: { top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 4, data: names, textStyle: { color: token("--fg") } },
    xAxis: {
      type: "time", axisLine: { lineStyle: { color: token("--line-strong") } },
      axisLabel: { color: token("--fg-muted"), hideOverlap: true, formatter: { day: "{d} {MMM}", hour: "{HH}:{mm}" } }, splitLine: { show: false },
    },
    yAxis: {
      type: "value", scale: true, splitLine: { lineStyle: { color: token("--line") } },
      axisLabel: { color: token("--fg-muted"), formatter: (value) => figure(value, percent ? "percent0" : place.format) },
    },
    tooltip: {
      ...tooltip(), trigger: "axis", axisPointer: { type: "line", lineStyle: { color: token("--line-strong") } },
      formatter: (found) => {
        const at = found[0].value[0];
        return element("div", {},
          element("div", { class: "tip-head" }, `${dayTime(new Date(at))} UTC`),
          (byTime.get(at) ?? []).map(({ row, name, color }) => figures(row, place, name, color)),
          visual.marks.filter((mark) => moment(mark.from) <= at && at < moment(mark.to))
            .map((mark) => element("div", { class: "tip-mark" },
              mark.kind === "gap" ? `Gap: ${titles[mark.topic] ?? mark.topic}` : `${mark.label} changed: ${titles[mark.topic] ?? mark.topic}`)));
      },
    },
    series: drawn,
  };
}

/** Stretches with a gap in one of the topics as areas, changes of method as lines, one each. */
function marked(marks) {
  const areas = new Map();
  const changes = new Map();
  for (const mark of marks) {
    if (mark.kind === "gap") areas.set(`${mark.from} ${mark.to}`, mark);
    else changes.set(mark.from, new Set([...(changes.get(mark.from) ?? []), ...mark.label.split(",")]));
  }
  return {
    markArea: {
      silent: true, itemStyle: { color: token("--gap"), opacity: 1 },
      data: [...areas.values()].map((mark) => [{ xAxis: moment(mark.from).getTime() }, { xAxis: moment(mark.to).getTime() }]),
    },
    markLine: {
      silent: true, symbol: "none", lineStyle: { color: token("--fg-muted"), type: [4, 4], width: 1 },
      label: { color: token("--fg-muted"), fontSize: 11, position: "insideEndTop", formatter: ({ name }) => name },
      data: [...changes].map(([from, what]) => ({ name: [...what].join(", "), xAxis: moment(from).getTime() })),
    },
  };
}

/** A bar a category and series, from zero, with its interval as a whisker. */
function bar(visual, titles) {
  const place = roles(visual);
  const colors = COLORS[theme()];
  const dimension = visual.columns[0].name;
  const categories = [...new Set(visual.rows.map((row) => row[0]))].reverse();
  const found = series(visual, titles);
  const drawn = found.flatMap(([key, rows], position) => {
    const name = titles[key] ?? key;
    const color = colors[position % colors.length];
    const byCategory = new Map(rows.map((row) => [row[0], row]));
    return [
      { type: "bar", name, color, barMaxWidth: 12, barGap: "15%", itemStyle: { borderRadius: 2, opacity: 0.85 },
        data: categories.map((category) => byCategory.get(category)?.[place.value] ?? null) },
      { type: "custom", name, silent: true, z: 4, tooltip: { show: false },
        data: categories.flatMap((category, index) => {
          const row = byCategory.get(category);
          return row && row[place.low] !== null && row[place.high] !== null ? [[row[place.low], row[place.high], index]] : [];
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
    legend: { top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 8, data: found.map(([key]) => titles[key] ?? key), textStyle: { color: token("--fg") } },
    xAxis: { type: "value", splitLine: { lineStyle: { color: token("--line") } },
      axisLabel: { color: token("--fg-muted"), hideOverlap: true, formatter: (value) => figure(value, place.format === "percent" ? "percent0" : place.format) } },
    yAxis: { type: "category", data: categories, axisTick: { show: false }, axisLine: { lineStyle: { color: token("--line-strong") } },
      axisLabel: { color: token("--fg"), width: 130, overflow: "truncate", formatter: (value) => named(dimension, value, titles) } },
    tooltip: {
      ...tooltip(), trigger: "axis", axisPointer: { type: "shadow" },
      formatter: ([{ axisValue }]) => element("div", {},
        element("div", { class: "tip-head" }, named(dimension, axisValue, titles)),
        (rows.get(axisValue) ?? []).map(({ row, name, color }) => figures(row, place, name, color))),
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

/** Countries colored by their value, symmetric about zero. */
function map(visual, titles) {
  const place = roles(visual);
  const byCode = new Map(visual.rows.map((row) => [row[0], row]));
  const most = Math.max(0.01, ...visual.rows.map((row) => Math.abs(row[place.value] ?? 0)));
  return {
    ...base(),
    visualMap: {
      type: "continuous", min: -most, max: most, calculable: true, left: 4, bottom: 4, itemHeight: 110, itemWidth: 12,
      inRange: { color: DIVERGING[theme()] }, textStyle: { color: token("--fg-muted") },
      formatter: (value) => figure(value, place.format),
    },
    tooltip: {
      ...tooltip(), trigger: "item",
      formatter: ({ name }) => element("div", {},
        element("div", { class: "tip-head" }, country(name)),
        byCode.has(name) ? figures(byCode.get(name), place, visual.columns[place.value].title ?? "", "transparent")
          : element("div", {}, "No tweets with a place there")),
    },
    series: [{
      type: "map", map: WORLD, roam: false, left: 0, right: 0, top: 4, bottom: 4, projection: EQUAL_EARTH, selectedMode: false,
      itemStyle: { areaColor: token("--muted-bg"), borderColor: token("--line-strong"), borderWidth: 0.5 },
      emphasis: { label: { show: false }, itemStyle: { areaColor: null, borderColor: token("--fg"), borderWidth: 1.5 } },
      data: visual.rows.map((row) => ({ name: row[0], value: row[place.value] })),
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

/** How tall a visual is drawn, in pixels, known before it is. */
export function height(visual) {
  if (visual.kind === "map") return 460;
  if (visual.kind !== "bar") return 300;
  const place = roles(visual);
  const categories = new Set(visual.rows.map((row) => row[0])).size;
  const each = Math.max(1, new Set(visual.rows.map((row) => row[place.series])).size);
  return Math.max(160, 70 + categories * (10 + 15 * each));
}

/** Draws a visual into a place, or redraws it there; `titles` are the topics' by their names. */
export function draw(place, visual, titles) {
  const chart = echarts.getInstanceByDom(place) ?? echarts.init(place, null, { renderer: "canvas" });
  chart.setOption(KINDS[visual.kind](visual, titles), { notMerge: true });
  chart.resize();
}

/** Lets a chart go before its place goes. */
export const dispose = (place) => echarts.getInstanceByDom(place)?.dispose();

/** Draws in the place's present size. */
export const resize = (place) => echarts.getInstanceByDom(place)?.resize();
