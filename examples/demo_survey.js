// @exec: {"yield_time_ms": 5000}
// What a model might write when it is asked: "Give me a survey of this repository. How big is it, what are the longest
// modules, does every package say that it is typed, and which words does the documentation use most?"
import { tools, text, notify, store, yield_control } from "@openai/code_mode";

// One call tells what there is; the rest of the work is done here instead of in the conversation.
const files = await tools.list_files({ pattern: "*" });
text(`${files.length} files, ${files.reduce((sum, file) => sum + file.bytes, 0).toLocaleString("en-US")} bytes`);

// All files that matter are read at once: one round of calls in flight together.
const python = files.filter((file) => file.path.endsWith(".py"));
const contents = await Promise.all(python.map((file) => tools.read_file({ path: file.path })));
const modules = python.map((file, index) => {
  const lines = contents[index].split("\n");
  const code = lines.filter((line) => line.trim() !== "" && !line.trim().startsWith("#"));
  return { path: file.path, package: file.path.split("/")[0], lines: code.length };
});
notify(`read ${modules.length} Python modules in parallel`);

const packages = new Map();
for (const module of modules) {
  const entry = packages.get(module.package) ?? { modules: 0, lines: 0 };
  entry.modules += 1;
  entry.lines += module.lines;
  packages.set(module.package, entry);
}
text("\nlines of code by package:");
for (const [name, { modules: count, lines }] of [...packages].sort((a, b) => b[1].lines - a[1].lines)) {
  text(`  ${name.padEnd(20)} ${String(count).padStart(3)} modules ${lines.toLocaleString("en-US").padStart(7)} lines`);
}

// What has been found so far can be shown while the rest of the script goes on.
yield_control();

const longest = [...modules].sort((a, b) => b.lines - a.lines).slice(0, 3);
text("\nthe longest modules:");
for (const module of longest) {
  text(`  ${module.path}: ${module.lines} lines`);
}

// Markers that ought to be there. A file that is missing is a tool error, and an error is something to handle.
const names = [...packages.keys()].filter((name) => name.startsWith("codemode_"));
const typed = await Promise.all(
  names.map(async (name) => {
    try {
      await tools.read_file({ path: `${name}/py.typed` });
      return `${name} is typed`;
    } catch (problem) {
      return `${name} is not typed: ${problem}`;
    }
  }),
);
text("\n" + typed.join("\n"));
try {
  await tools.read_file({ path: "no/such/file.py" });
} catch (problem) {
  text(`\na tool error, caught: ${problem}`);
}

store("survey", { modules, longest: longest.map((module) => module.path) });
