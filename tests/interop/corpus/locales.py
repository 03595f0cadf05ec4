"""Intl and the methods that depend on a locale: every locale's data is there, and the default is en-US in UTC."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import cell

NUMBERS = (
    "de-DE",
    "fr-FR",
    "en-IN",
    "hi-IN",
    "ar-EG",
    "fa-IR",
    "ja-JP",
    "sv-SE",
    "pl-PL",
    "ru-RU",
    "pt-PT",
    "th-TH-u-nu-thai",
    "bn-BD",
    "sw-KE",
    "is-IS",
    "et-EE",
)
DATES = (
    "de",
    "fr",
    "es",
    "ja",
    "ko",
    "zh-CN",
    "zh-TW",
    "ru",
    "tr",
    "vi",
    "el",
    "hu",
    "cs",
    "fi",
    "uk",
    "nl",
    "it",
    "da",
    "ro",
    "id",
)

EXPRESSIONS = {
    "default-number": "(1234567.891).toLocaleString()",
    "default-locale": "Intl.NumberFormat().resolvedOptions().locale",
    "default-time-zone": "Intl.DateTimeFormat().resolvedOptions().timeZone",
    "currency-eur": "new Intl.NumberFormat('de', {style: 'currency', currency: 'EUR'}).format(1234.5)",
    "currency-jpy": "new Intl.NumberFormat('ja', {style: 'currency', currency: 'JPY'}).format(5000)",
    "percent": "new Intl.NumberFormat('tr', {style: 'percent'}).format(0.25)",
    "unit": "new Intl.NumberFormat('fr', {style: 'unit', unit: 'kilometer-per-hour', unitDisplay: 'long'}).format(50)",
    "compact": "new Intl.NumberFormat('en', {notation: 'compact'}).format(1234567)",
    "compact-ja": "new Intl.NumberFormat('ja', {notation: 'compact'}).format(12345678)",
    "scientific": "new Intl.NumberFormat('en', {notation: 'scientific'}).format(123456)",
    "bigint": "(12345678901234567890n).toLocaleString('de')",
    "range": "new Intl.NumberFormat('en').formatRange(1, 5)",
    "parts": "new Intl.NumberFormat('de').formatToParts(-1234.5).map(p => p.type)",
    "collator-sv": "['ä', 'z', 'a', 'ö'].sort(new Intl.Collator('sv').compare)",
    "collator-de": "['ä', 'z', 'a', 'ö'].sort(new Intl.Collator('de').compare)",
    "collator-numeric": "['a10', 'a2'].sort(new Intl.Collator('en', {numeric: true}).compare)",
    "collator-es": "['cz', 'ch', 'd'].sort(new Intl.Collator('es-u-co-trad').compare)",
    "locale-compare": "['a', 'B', 'c', 'Á'].sort((x, y) => x.localeCompare(y))",
    "locale-compare-base": "'a'.localeCompare('Á', 'en', {sensitivity: 'base'})",
    "plural-ar": "[0, 1, 2, 5, 11, 100].map(n => new Intl.PluralRules('ar').select(n))",
    "plural-ordinal": "[1, 2, 3, 4, 11, 22].map(n => new Intl.PluralRules('en', {type: 'ordinal'}).select(n))",
    "plural-ru": "[1, 2, 5, 21].map(n => new Intl.PluralRules('ru').select(n))",
    "list": "['en', 'es', 'ja', 'de'].map(l => new Intl.ListFormat(l).format(['a', 'b', 'c']))",
    "list-or": "new Intl.ListFormat('en', {type: 'disjunction'}).format(['a', 'b'])",
    "relative": "['en', 'ru', 'ar', 'fr'].map(l => new Intl.RelativeTimeFormat(l).format(-3, 'day'))",
    "relative-auto": "['en', 'de', 'es'].map(l => new Intl.RelativeTimeFormat(l, {numeric: 'auto'}).format(-1, 'day'))",
    "display-region": "['fr', 'de', 'ja', 'ar'].map(l => new Intl.DisplayNames(l, {type: 'region'}).of('DE'))",
    "display-language": "['en', 'fr', 'es'].map(l => new Intl.DisplayNames(l, {type: 'language'}).of('pt-BR'))",
    "display-currency": "new Intl.DisplayNames('en', {type: 'currency'}).of('CHF')",
    "segmenter-words": "[...new Intl.Segmenter('en', {granularity: 'word'}).segment('Hello, big world')].filter(s => s.isWordLike).map(s => s.segment)",
    "segmenter-graphemes": "[...new Intl.Segmenter().segment('👨‍👩‍👧é')].length",
    "segmenter-thai": "[...new Intl.Segmenter('th', {granularity: 'word'}).segment('สวัสดีครับ')].map(s => s.segment)",
    "segmenter-sentences": "[...new Intl.Segmenter('en', {granularity: 'sentence'}).segment('One. Two? Three')].length",
    "upper-tr": "['i'.toLocaleUpperCase('tr'), 'I'.toLocaleLowerCase('tr'), 'ß'.toLocaleUpperCase('de')]",
    "locale-maximise": "new Intl.Locale('zh').maximize().toString()",
    "canonical": "Intl.getCanonicalLocales(['EN-us', 'iw'])",
    "supported": "Intl.DateTimeFormat.supportedLocalesOf(['de', 'sw', 'zu', 'haw', 'ban'])",
    "calendars": "new Date(0).toLocaleDateString('en-u-ca-buddhist', {year: 'numeric'})",
    "japanese-era": "new Date(Date.UTC(2024, 0, 1)).toLocaleDateString('ja-JP-u-ca-japanese', {dateStyle: 'long'})",
    "time-zone-name": "new Intl.DateTimeFormat('en', {timeZone: 'America/New_York', timeZoneName: 'long'}).formatToParts(new Date(0)).at(-1).value",
    "time-zones": "['Asia/Tokyo', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'].map(z => new Date(Date.UTC(2024, 6, 1)).toLocaleString('sv', {timeZone: z}))",
    "date-range": "new Intl.DateTimeFormat('de', {dateStyle: 'medium'}).formatRange(new Date(0), new Date(864e6))",
    "bad-locale": "(() => { try { return new Intl.NumberFormat('not a locale').format(1); } catch (e) { return e.name; } })()",
    "unknown-locale-falls-back": "new Intl.NumberFormat('zz').resolvedOptions().locale",
    "array-to-locale-string": "[1234.5, new Date(0)].toLocaleString('de', {timeZone: 'UTC'})",
    "supported-values": "[Intl.supportedValuesOf('calendar').includes('hebrew'), Intl.supportedValuesOf('currency').includes('EUR'), Intl.supportedValuesOf('timeZone').includes('Asia/Tokyo')]",
    "duration-format": "typeof Intl.DurationFormat",
}

CASES = (
    *(cell(f"number-{locale}", f"text((-1234567.891).toLocaleString('{locale}'))") for locale in NUMBERS),
    *(
        cell(
            f"date-{locale}",
            f"text(new Date(Date.UTC(2024, 1, 29, 15, 4, 5)).toLocaleDateString('{locale}', {{dateStyle: 'full', timeZone: 'UTC'}}))",
        )
        for locale in DATES
    ),
    *(cell(name, f"text({value})") for name, value in EXPRESSIONS.items()),
)
