// Images, sounds and MCP blocks. A block is examined as JSON, so that no getter of the script runs.
const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";
const read = (object, key) => {
  try {
    return object[key];
  } catch (error) {
    throw describe(error);
  }
};
const field = (parsed, key) => (typeof parsed === "object" && parsed !== null ? own(parsed, key) : undefined);
const asJson = (value) => {
  const text = json(value);
  if (text === undefined) throw NOT_JSON;
  return refuseLoneSurrogates(text);
};
const DETAILS = { __proto__: null, auto: true, low: true, high: true, original: true };
const OCTETS = "application/octet-stream";
const dataUrl = (data, mime) =>
  startsWith(toLowerCase(slice(data, 0, 5)), "data:") ? data : "data:" + mime + ";base64," + data;
const detailOf = (block) => field(field(block, "_meta"), "codex/imageDetail");
const putImage = (url, detail) => put(IMAGE, stringify({ __proto__: null, image_url: wellFormed(url), detail }));
const EXPECTS = {
  __proto__: null,
  image: "image expects a non-empty image URL string, an object with image_url and optional detail, or a raw MCP image block",
  audio: "audio expects a non-empty audio URL string, an object with audio_url, or a raw MCP audio block",
};
// Return the URL and the detail in an argument of `image` or `audio`.
const mediaOf = (what, value) => {
  let url = value, detail;
  if (isObject(value)) {
    url = read(value, what + "_url");
    if (url !== undefined) {
      if (what === "image") detail = read(value, "detail");
    } else {
      const block = parse(asJson(value)), type = field(block, "type");
      if (typeof type === "string") {
        if (type !== what) throw what + " only accepts MCP " + what + ' blocks, got "' + type + '"';
        const data = field(block, "data");
        if (typeof data !== "string" || data === "") throw what + " expected MCP " + what + " data";
        let mime = field(block, "mimeType");
        if (mime === undefined) mime = field(block, "mime_type");
        url = dataUrl(data, typeof mime === "string" && mime !== "" ? mime : OCTETS);
        detail = detailOf(block);
        if (typeof detail !== "string" || DETAILS[toLowerCase(detail)] !== true) detail = undefined;
      }
    }
  }
  if (typeof url !== "string" || url === "") throw EXPECTS[what];
  const scheme = toLowerCase(slice(url, 0, 6));
  if (!startsWith(scheme, "data:")) {
    throw (
      "Tool call failed: " +
      (what === "image" && (startsWith(scheme, "http:") || scheme === "https:")
        ? "remote image URLs are not supported in tool outputs"
        : "invalid " + what + " output") +
      ". Pass a base64 data URI instead"
    );
  }
  return { __proto__: null, url, detail };
};
const showImage = (value, detail) => {
  const media = mediaOf("image", value);
  let chosen = detail === undefined || detail === null ? media.detail : detail;
  if (chosen === undefined || chosen === null) chosen = "high";
  if (typeof chosen !== "string") throw "image detail must be a string when provided";
  chosen = toLowerCase(chosen);
  if (DETAILS[chosen] !== true) throw "image detail must be one of: auto, low, high, original";
  putImage(media.url, chosen);
};
const BLOCK_EXPECTS = "content expects one MCP ContentBlock";
const has = (block, key) => typeof field(block, key) === "string";
const mayHave = (block, key) => {
  const value = field(block, key);
  return value === undefined || value === null || typeof value === "string";
};
const isResource = (resource) =>
  has(resource, "uri") && mayHave(resource, "mimeType") && (has(resource, "text") || has(resource, "blob"));
const isLink = (block) => {
  const size = field(block, "size"), icons = field(block, "icons");
  return (
    has(block, "uri") &&
    has(block, "name") &&
    mayHave(block, "title") &&
    mayHave(block, "description") &&
    mayHave(block, "mimeType") &&
    (size === undefined || size === null || (isInteger(size) && size < 2 ** 63 && size > -(2 ** 63))) &&
    (icons === undefined || icons === null || isArray(icons))
  );
};
const putBlock = (value) => {
  if (value === undefined) throw BLOCK_EXPECTS;
  const text = asJson(value), block = parse(text), type = field(block, "type");
  if (type === "text" && has(block, "text")) put(TEXT, field(block, "text"));
  else if ((type === "image" || type === "audio") && has(block, "data")) {
    const key = field(block, "mimeType") === undefined ? "mime_type" : "mimeType", mime = field(block, key);
    // Only one of the two names may be used.
    if (!mayHave(block, key) || (key === "mimeType" && field(block, "mime_type") !== undefined)) throw BLOCK_EXPECTS;
    const url = dataUrl(field(block, "data"), typeof mime === "string" ? mime : OCTETS), detail = detailOf(block);
    if (type === "audio") put(AUDIO, url);
    else putImage(url, typeof detail === "string" && DETAILS[detail] === true ? detail : "high");
  } else if ((type === "resource" && isResource(field(block, "resource"))) || (type === "resource_link" && isLink(block))) {
    put(TEXT, text);
  } else throw BLOCK_EXPECTS;
};
