// Does what scripts usually do, once before the fork: see `Realm._warm_up`. Dates and locales read files at their first use,
// which a confined process may not. content, audio, generatedImage, as_settled and stream_settled are left out: few scripts
// use them, and warming them up takes longer at every start than it saves.
import { tools as imported } from "tools.js";
import { text as alias } from "@openai/code_mode";
const first = tools.warm({ query: "x", list: [1, 2.5, "y"] }), second = imported.warm();
text("plain"); alias({ a: [1, null, "\u20ac"] }); text("\u20ac"); text(1); image("data:,x");
// In a function: if the script itself were compiled to machine code here, the engine would remember its name and position and
// compile every later script too, most of which run once.
(function items() { for (let i = 0; i < 2000; i++) text("item"); })();
// Python encodes long texts, for which it imports a codec.
text("\u00e9".repeat(5000)); text("\u20ac".repeat(5000));
store("warm", { a: load("warm")[0] }); notify("x"); yield_control();
const answer = await first, done = new Promise((resolve) => { setTimeout(resolve, 1); clearTimeout(setTimeout(resolve)); });
try { await second; } catch (error) { text(String(error)); }
function fail() { null.x; }
try { fail(); } catch (error) { text(error.stack); }
text(new Date(0).toString() + new Date(2020, 5, 1).getTimezoneOffset());
text([1, 2, 3].map((x) => x * 2).filter(Boolean).reduce((a, b) => a + b, 0) + `${/a(b)/u.exec("ab")[1]}`);
text(Object.entries(answer).map(([k, v]) => k + v).join("\n").split("\n").length + JSON.stringify(answer, null, 2));
await Promise.all([done, (async () => { await null; })()]);
class Warm extends Error {}
throw new Warm("warmed up");
