// Reads contents of io.matrixdata.record events from standard input, one JSON text a line, and writes for each a line
// {"uid":…,"schema":…,"value":…} or {"invalid":rule}. A line with an array of events is a room with the record $r, and
// what comes out is {"value":…,"edit":…,"invalid":…}. A line with {"type":"io.matrixdata.batch","content":…} is a batch, and
// out comes {"schema":…,"records":[{"uid":…,"value":…} or {"uid":…,"rule":…}]}. From docs/wire-format.md alone; no packages.
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
class Double { constructor(number) { this.number = number; } } // JavaScript itself cannot tell 21.0 from 21
const refuse = (rule) => { throw { rule }; };
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isName = (text) => typeof text === "string" && text.isWellFormed() && text && Buffer.byteLength(text) <= 255;
const isHash = (text) => typeof text === "string" && /^sha256:[0-9a-f]{64}$/.test(text);
const keyOf = (token) => token.replaceAll("~2", "*").replaceAll("~1", "/").replaceAll("~0", "~");
function readPatterns(patterns) { // a tree of {number, every, at: key → tree}
  if (!Array.isArray(patterns) || patterns.length > 10000) refuse("pattern");
  const root = { at: new Map() };
  for (const pattern of patterns) {
    let place = typeof pattern === "string" && /^(\/([^~/]|~[012])*)*$/.test(pattern) ? root : refuse("pattern");
    for (const token of pattern.split("/").slice(1)) {
      if (/^(0|[1-9][0-9]*)$/.test(token)) place.indexed = true;
      if (token === "*") place = place.every ??= { at: new Map(), above: place };
      else if (place.at.has(keyOf(token))) place = place.at.get(keyOf(token));
      else place.at.set(keyOf(token), place = { at: new Map(), above: place });
      if (place.above.indexed && place.above.every) refuse("pattern");
    }
    place.number = true;
  }
  return root;
}
function readNumber(text) {
  if (text.length > 64 || !/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) refuse("number");
  if (/[.eE]/.test(text)) return Number.isFinite(Number(text)) ? new Double(Number(text)) : refuse("number");
  return BigInt(text) < -(2n ** 63n) || BigInt(text) >= 2n ** 64n ? refuse("number") : BigInt(text);
}
function decode(value, place, depth) { // place is undefined where no pattern leads
  if (typeof value === "string" && value.isWellFormed()) return place?.number ? readNumber(value) : value;
  if (typeof value === "string") refuse("unicode");
  if (typeof value === "number" && !Number.isInteger(value)) refuse("float");
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : refuse("integer-range");
  if (value === null || typeof value === "boolean") return value;
  if (depth === 64) refuse("depth");
  const below = (item, key) => decode(item, place?.at.get(String(key)), depth + 1);
  if (Array.isArray(value)) return value.map(place?.every ? (item) => decode(item, place.every, depth + 1) : below);
  if (!Object.keys(value).every((key) => key.isWellFormed())) refuse("unicode");
  return new Map(Object.entries(value).map(([key, item]) => [key, below(item, key)])); // a key may be __proto__
}
export function readRecord(content) {
  if (!isObject(content) || content.v !== 1) refuse(isObject(content) ? "version" : "type");
  if (!isName(content.uid)) refuse("name");
  if (content.schema != null && !isHash(content.schema)) refuse("hash");
  if (!isObject(content.value)) refuse("type");
  const patterns = readPatterns(Object.hasOwn(content, "numbers") ? content.numbers : []);
  return new Map([["uid", content.uid], ["schema", content.schema ?? null], ["value", decode(content.value, patterns, 0)]]);
}
const target = (event) => event.content["m.relates_to"]?.rel_type === "m.replace" ? event.content["m.relates_to"].event_id : null;
function tryRecord(content) {
  try { return readRecord(content); } catch { return null; }
}
export function readRoom(events) {
  const original = events.find((event) => event.event_id === "$r"), invalid = [];
  let record = readRecord(original.content), edit = null;
  for (const event of events.filter((event) => !event.redacted && target(event) !== null)) {
    const of = events.find((each) => each.event_id === target(event)), made = tryRecord(event.content["m.new_content"]);
    const fits = !of || of.redacted || (target(of) === null && of.sender === event.sender && of.type === event.type
      && of.content.uid === made?.get("uid"));
    if (typeof target(event) !== "string" || !made || !fits) invalid.push(event.event_id);
    else if (of === original && (!edit || edit.origin_server_ts < event.origin_server_ts
      || (edit.origin_server_ts === event.origin_server_ts && edit.event_id < event.event_id))) [edit, record] = [event, made];
  }
  return new Map([["value", record.get("value")], ["edit", edit?.event_id ?? null], ["invalid", invalid]]);
}
function exactly(text) { // JSON in which each string is preceded by an s, and each number is a string preceded by an n
  JSON.parse(text);
  const marked = (token) => (token[0] === '"' ? `"s${token.slice(1)}` : `"n${token}"`);
  return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*/g, marked));
}
function plain(value, depth) { // from what `exactly` gives
  if (typeof value === "string" && value[0] === "s") return value.isWellFormed() ? value.slice(1) : refuse("unicode");
  if (typeof value === "string" && /[.eE]/.test(value)) {
    return Number.isFinite(Number(value.slice(1))) ? new Double(Number(value.slice(1))) : refuse("finite");
  }
  if (typeof value === "string") {
    const number = BigInt(value.slice(1));
    return number < -(2n ** 63n) || number >= 2n ** 64n ? refuse("integer-range") : number;
  }
  if (value === null || typeof value === "boolean") return value;
  if (depth === 64) refuse("depth");
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (!Object.keys(value).every((key) => key.isWellFormed())) refuse("unicode");
  return new Map(Object.entries(value).map(([key, item]) => [key.slice(1), plain(item, depth + 1)]));
}
function inflated(records) {
  if (!/^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(records) || records.endsWith("\n")) refuse("encoding");
  const packed = Buffer.from(records, "base64");
  try {
    const { buffer, engine } = inflateSync(packed, { maxOutputLength: 4 * 1024 * 1024, info: true });
    return engine.bytesWritten === packed.length ? buffer : refuse("encoding");
  } catch (error) { return refuse(error.code === "ERR_BUFFER_TOO_LARGE" ? "size" : "encoding"); }
}
function parsed(bytes) {
  try { return exactly(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)); } catch { return refuse("syntax"); }
}
export function readBatch(content) {
  if (!isObject(content) || content.v !== 1) refuse(isObject(content) ? "version" : "type");
  if (content["m.relates_to"]?.rel_type === "m.replace") refuse("edit");
  if (!isName(content.uid) || Buffer.byteLength(content.uid) > 249) refuse("name");
  if (content.schema != null && !isHash(content.schema)) refuse("hash");
  if (!Number.isInteger(content.count) || content.count < 1 || content.count > 10000) refuse("count");
  if (typeof content.records !== "string") refuse("type");
  const text = parsed(inflated(content.records));
  if (!isObject(text) || !Array.isArray(text.svalues) || !(text.suids == null || Array.isArray(text.suids))) refuse("type");
  const uids = text.suids?.map((uid) => (typeof uid === "string" && uid[0] === "s" ? uid.slice(1) : null));
  if (text.svalues.length !== content.count || (uids && uids.length !== content.count)) refuse("count");
  const records = text.svalues.map((value, index) => {
    const uid = uids ? (isName(uids[index]) ? uids[index] : null) : `${content.uid}:${index}`;
    try { return new Map([["uid", uid], ["value", uid === null ? refuse("name") : isObject(value) ? plain(value, 0) : refuse("type")]]); }
    catch ({ rule }) { return new Map([["uid", uid], ["rule", rule]]); }
  });
  return new Map([["schema", content.schema ?? null], ["records", records]]);
}
export function write(value) { // exact JSON text: a double always has a point or an exponent
  if (value instanceof Double) return (Object.is(value.number, -0) ? "-0" : `${value.number}`).replace(/^[^.e]+$/, "$&.0");
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${write(item)}`)}}`;
  if (Array.isArray(value)) return `[${value.map(write)}]`;
  return typeof value === "bigint" ? `${value}` : JSON.stringify(value);
}
const readerOf = (line) => /^\[{"event_id"/.test(line) ? readRoom
  : /^{"type":"io.matrixdata.batch"/.test(line) ? ({ content }) => readBatch(content) : readRecord;
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  try { console.log(write(readerOf(line)(JSON.parse(line)))); }
  catch (error) { console.log(JSON.stringify({ invalid: error.rule ?? `crash: ${error}` })); }
}
