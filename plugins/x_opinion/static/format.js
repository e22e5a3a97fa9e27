// Numbers and times in words; all times are UTC.
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const WHOLE = new Intl.NumberFormat("en-GB", { signDisplay: "negative", maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const COUNTRIES = new Intl.DisplayNames("en", { type: "region", fallback: "code" });
const LANGUAGES = new Intl.DisplayNames("en", { type: "language", fallback: "code" });

export const whole = (value) => WHOLE.format(value);
export const short = (value) => SHORT.format(value);

/** The moment of a label such as `2026-11-20T05`, or of a time without a zone: UTC. */
export function moment(text) {
  const value = String(text).replace(" ", "T");
  if (value.length === 13) return new Date(`${value}:00:00Z`);
  if (value.length === 10) return new Date(`${value}T00:00:00Z`);
  return new Date(/(Z|[+-]\d\d:\d\d)$/.test(value) ? value : `${value}Z`);
}

export const day = (date) => DAY.format(date);
export const time = (date) => TIME.format(date);
export const dayTime = (date) => `${DAY.format(date)}, ${TIME.format(date)}`;
/** `2026-11-20` */
export const isoDay = (date) => date.toISOString().slice(0, 10);
/** `2026-11-20T05` */
export const hourLabel = (date) => date.toISOString().slice(0, 13);

/** A country's English name by its ISO 3166 code; `--` is nowhere. */
export function country(code) {
  if (code === "--" || !code) return "No country given";
  try {
    return COUNTRIES.of(code.toUpperCase());
  } catch {
    return code;
  }
}

/** A language's English name by X's code. */
export function language(code) {
  if (code === "in") return "Indonesian"; // X keeps the old codes of two languages.
  if (code === "iw") return "Hebrew";
  try {
    return LANGUAGES.of(code);
  } catch {
    return code || "unknown";
  }
}

/** Seconds as `3 min 20 s`. */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return [minutes ? `${minutes} min` : "", seconds % 60 || !minutes ? `${Math.round(seconds % 60)} s` : ""].join(" ").trim();
}

// What rounds to zero is zero: never "-0.00", whatever the arithmetic has left of it.
const SIGN = { signDisplay: "negative" };
const RATIO = new Intl.NumberFormat("en-GB", { ...SIGN, minimumFractionDigits: 2, maximumFractionDigits: 2 });
const PERCENT = new Intl.NumberFormat("en-GB", { ...SIGN, style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const PERCENT0 = new Intl.NumberFormat("en-GB", { ...SIGN, style: "percent", maximumFractionDigits: 0 });
const POINTS = new Intl.NumberFormat("en-GB", { signDisplay: "exceptZero", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const SIGNED = new Intl.NumberFormat("en-GB", { signDisplay: "exceptZero", maximumFractionDigits: 0 });
/** Changes: of shares in percentage points, of ratios by their quotient, of numbers with a sign. */
const CHANGES = {
  points: { format: (value) => `${POINTS.format(value * 100)} points` }, times: { format: (value) => `× ${RATIO.format(value)}` }, signed: SIGNED,
};
const FORMATS = { ratio: RATIO, percent: PERCENT, percent0: PERCENT0, number: WHOLE, ...CHANGES };
const MONEY = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

/** US dollars, such as `$1,234.50`. */
export const money = (value) => MONEY.format(value);

/** A figure in its measure's format; a dash where there is none. */
export const figure = (value, format) => (value === null || value === undefined ? "–" : FORMATS[format].format(value));

/** What an interval knows, by a figure's `audit`: null where no model is in it. */
export const certainty = (audit) => (audit === 0 ? "sampling error only" : audit === 2 ? "95 %, by the whole topic's audit" : "95 %");

/** How tables mark what an interval knows. */
export const MARKS = { 0: " *", 2: " †" };
