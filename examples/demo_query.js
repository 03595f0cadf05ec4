// A second cell of the same session: it loads what the first one stored, and asks the database about it.
const survey = load("survey");
text(`from the first cell: ${survey.modules.length} modules, the longest is ${survey.longest[0]}`);

const [biggest, words, check] = await Promise.all([
  tools.query({ sql: "SELECT path, lines FROM files WHERE path LIKE '%.py' ORDER BY lines DESC LIMIT 3" }),
  tools.query({ sql: "SELECT word, count FROM words ORDER BY count DESC, word LIMIT 5" }),
  tools.query({ sql: "SELECT count(*) AS modules FROM files WHERE path LIKE '%.py'" }),
]);
text("\nthe database's longest Python files, blank lines included:");
for (const row of biggest) {
  text(`  ${row.path}: ${row.lines}`);
}
text("\nthe documentation's most used words: " + words.map((row) => `${row.word} (${row.count})`).join(", "));
text(
  check[0].modules === survey.modules.length
    ? "\nboth ways of counting the modules agree"
    : `\nthe counts differ: ${check[0].modules} and ${survey.modules.length}`,
);

try {
  await tools.query({ sql: "DROP TABLE files" });
} catch (problem) {
  text(`the database is read-only: ${problem}`);
}
