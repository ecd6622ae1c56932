// Numbers as they are read; null is what is not known.

const fixed = (x, digits = 3) => (x === null || x === undefined ? "n/a" : x.toFixed(digits));
const whole = (n) => (n === null || n === undefined ? "n/a" : n.toLocaleString("en-US"));
// Two digits at least, however small.
const percent = (x) => (x === null || x === undefined ? "n/a" : `${x && x < 0.1 ? plainDigits(100 * x, 2) : (100 * x).toFixed(0)}%`);
// So many significant digits, never as a power of ten.
const plainDigits = (x, n) => (x ? x.toFixed(Math.min(100, Math.max(0, n - 1 - Math.floor(Math.log10(Math.abs(x)))))) : "0");
const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;
const range = (n) => Array.from({ length: n }, (_, i) => i);
const median = (values) => {
  const ordered = [...values].sort((a, b) => a - b);
  return (ordered[Math.floor((ordered.length - 1) / 2)] + ordered[Math.ceil((ordered.length - 1) / 2)]) / 2;
};
const sum = (values) => values.reduce((total, value) => total + value, 0);

// Responses span many sizes: three decimals, or three digits where these say nothing.
function size(x) {
  if (x === null || x === undefined) return "n/a";
  return x !== 0 && (Math.abs(x) < 0.01 || Math.abs(x) >= 1e5) ? x.toPrecision(3) : x.toFixed(3);
}

// What stands beside a concept's name, for whoever knows its key: nothing if it says no more.
const isOneGroup = (keys) => new Set(keys.map((key) => key.slice(0, key.indexOf("/")))).size === 1;
function besideName(key, name, oneGroup) {
  const bare = key.slice(key.indexOf("/") + 1);
  return bare === name ? null : oneGroup ? bare : key;
}

// Two decimals, rounded outwards: an AP of 0.996 is not outside of 0.99–1.00.
function interval(low, high) {
  if (low === null || low === undefined || high === null || high === undefined) return "n/a";
  const down = Math.floor(Number((100 * low).toFixed(4))) / 100;
  const up = Math.ceil(Number((100 * high).toFixed(4))) / 100;
  return `${down.toFixed(2)}–${up.toFixed(2)}`;
}
