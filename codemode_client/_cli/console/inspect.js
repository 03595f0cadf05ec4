// Formats a value for a prompt: in JavaScript's own notation, on one line where it fits.
// Calls no getter, limits depth and length, and does not throw.
function inspect(value) {
  const DEPTH = 4, ENTRIES = 100, CHARACTERS = 10000, WIDTH = 76;
  const above = [];

  const quote = (text) => {
    const cut = text.length > CHARACTERS ? text.slice(0, CHARACTERS) : text;
    const more = text.length - cut.length;
    return JSON.stringify(cut) + (more ? `… ${more} more characters` : "");
  };
  const keyOf = (key) => typeof key === "symbol" ? `[${String(key)}]` : /^[A-Za-z_$][\w$]*$/.test(key) ? key : quote(key);
  const nameOf = (object) => {
    for (let at = object; at !== null; at = Object.getPrototypeOf(at)) {
      const found = Object.getOwnPropertyDescriptor(at, "constructor");
      if (found && typeof found.value === "function" && found.value.name) return found.value.name;
    }
    return "[Object: null prototype]";
  };

  // The formatted properties of an object.
  const properties = (object, indent, keys) => {
    const parts = [];
    for (const key of keys) {
      if (parts.length === ENTRIES) {
        parts.push(`… ${keys.length - ENTRIES} more`);
        break;
      }
      const found = Object.getOwnPropertyDescriptor(object, key);
      if (!found) continue;
      const shown = "value" in found ? render(found.value, indent) : found.get ? (found.set ? "[Getter/Setter]" : "[Getter]") : "[Setter]";
      parts.push(`${keyOf(key)}: ${shown}`);
    }
    return parts;
  };
  const some = (iterable, size, entry) => {
    const parts = [];
    for (const one of iterable) {
      if (parts.length === ENTRIES) {
        parts.push(`… ${size - ENTRIES} more`);
        break;
      }
      parts.push(entry(one));
    }
    return parts;
  };
  const elements = (array, indent) => {
    const parts = [];
    for (let i = 0; i < array.length && parts.length < ENTRIES; i++)
      parts.push(i in array ? properties(array, indent, [String(i)])[0].replace(/^[^:]*: /, "") : "<empty>");
    if (array.length > ENTRIES) parts.push(`… ${array.length - ENTRIES} more`);
    return parts;
  };
  const layOut = (prefix, [open, close], parts, indent) => {
    const before = prefix ? `${prefix} ` : "";
    if (!parts.length) return before + open + close;
    const line = parts.join(", ");
    const pad = open === "{" ? " " : "";
    if (!line.includes("\n") && indent.length + before.length + line.length <= WIDTH) return before + open + pad + line + pad + close;
    return `${before}${open}\n${parts.map((part) => `${indent}  ${part}`).join(",\n")},\n${indent}${close}`;
  };

  const objectOf = (object, indent) => {
    const deeper = `${indent}  `;
    const own = Reflect.ownKeys(object).filter((key) => Object.getOwnPropertyDescriptor(object, key)?.enumerable);
    const name = nameOf(object);
    if (Array.isArray(object)) {
      const named = own.filter((key) => typeof key === "symbol" || !/^\d+$/.test(key));
      const parts = [...elements(object, deeper), ...properties(object, deeper, named)];
      return layOut(name === "Array" ? "" : `${name}(${object.length})`, "[]", parts, indent);
    }
    if (object instanceof Error) {
      const text = object.stack ? `${String(object)}\n${object.stack}`.trimEnd().replace(/\n/g, `\n${deeper}`) : String(object);
      return own.length ? layOut(text, "{}", properties(object, deeper, own), indent) : text;
    }
    const entry = (one) => render(one, deeper);
    let prefix = name === "Object" ? "" : name, parts = [];
    if (object instanceof Map) {
      [prefix, parts] = [`${name}(${object.size})`, some(object, object.size, ([key, one]) => `${entry(key)} => ${entry(one)}`)];
    } else if (object instanceof Set) {
      [prefix, parts] = [`${name}(${object.size})`, some(object, object.size, entry)];
    } else if (ArrayBuffer.isView(object) && !(object instanceof DataView)) {
      return layOut(`${name}(${object.length})`, "[]", some(object, object.length, entry), indent);
    } else if (object instanceof ArrayBuffer) {
      parts = [`byteLength: ${object.byteLength}`];
    } else if (object instanceof Promise) {
      return "Promise (write `await` before it to see what it comes to)";
    } else if (object instanceof Date) {
      prefix = Number.isNaN(object.getTime()) ? "Invalid Date" : object.toISOString();
    } else if (object instanceof RegExp) {
      prefix = String(object);
    } else if (typeof object === "function") {
      const text = Function.prototype.toString.call(object);
      prefix = text.startsWith("class") ? `[class ${object.name || "(anonymous)"}]` : `[Function: ${object.name || "(anonymous)"}]`;
    } else if (object instanceof String || object instanceof Number || object instanceof Boolean) {
      return `[${name}: ${entry(object.valueOf())}]`;
    }
    parts.push(...properties(object, deeper, own));
    const bare = !parts.length && (typeof object === "function" || object instanceof Date || object instanceof RegExp);
    return bare ? prefix : layOut(prefix, "{}", parts, indent);
  };

  const render = (one, indent) => {
    switch (typeof one) {
      case "string": return quote(one);
      case "bigint": return `${one}n`;
      case "number": return Object.is(one, -0) ? "-0" : String(one);
      case "object":
      case "function":
        if (one === null) return "null";
        if (above.includes(one)) return "[Circular]";
        if (above.length > DEPTH) return Array.isArray(one) ? "[Array]" : `[${nameOf(one)}]`;
        above.push(one);
        try {
          return objectOf(one, indent);
        } finally {
          above.pop();
        }
      default: return String(one);
    }
  };

  try {
    return typeof value === "string" ? quote(value) : render(value, "");
  } catch (error) {
    return `[a value that cannot be shown: ${String(error)}]`;
  }
}
