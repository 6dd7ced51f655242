"""Languages: their codes, English names and scripts.

A language is written `zh`, or with a region or script as `pt-BR` and `zh-Hant`. A language of three letters, which ISO 639-1 does not
list, is taken by its code: nothing is known about it, so less is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from mimicit.errors import MimicitError

NAMES = dict(
    line.split(" ", 1)
    for line in """\
aa Afar
ab Abkhazian
ae Avestan
af Afrikaans
ak Akan
am Amharic
an Aragonese
ar Arabic
as Assamese
av Avaric
ay Aymara
az Azerbaijani
ba Bashkir
be Belarusian
bg Bulgarian
bi Bislama
bm Bambara
bn Bengali
bo Tibetan
br Breton
bs Bosnian
ca Catalan
ce Chechen
ch Chamorro
co Corsican
cr Cree
cs Czech
cu Church Slavic
cv Chuvash
cy Welsh
da Danish
de German
dv Divehi
dz Dzongkha
ee Ewe
el Greek
en English
eo Esperanto
es Spanish
et Estonian
eu Basque
fa Persian
ff Fulah
fi Finnish
fj Fijian
fo Faroese
fr French
fy Western Frisian
ga Irish
gd Scottish Gaelic
gl Galician
gn Guarani
gu Gujarati
gv Manx
ha Hausa
he Hebrew
hi Hindi
ho Hiri Motu
hr Croatian
ht Haitian Creole
hu Hungarian
hy Armenian
hz Herero
ia Interlingua
id Indonesian
ie Interlingue
ig Igbo
ii Sichuan Yi
ik Inupiaq
io Ido
is Icelandic
it Italian
iu Inuktitut
ja Japanese
jv Javanese
ka Georgian
kg Kongo
ki Kikuyu
kj Kuanyama
kk Kazakh
kl Kalaallisut
km Khmer
kn Kannada
ko Korean
kr Kanuri
ks Kashmiri
ku Kurdish
kv Komi
kw Cornish
ky Kyrgyz
la Latin
lb Luxembourgish
lg Ganda
li Limburgish
ln Lingala
lo Lao
lt Lithuanian
lu Luba-Katanga
lv Latvian
mg Malagasy
mh Marshallese
mi Maori
mk Macedonian
ml Malayalam
mn Mongolian
mr Marathi
ms Malay
mt Maltese
my Burmese
na Nauru
nb Norwegian Bokmål
nd North Ndebele
ne Nepali
ng Ndonga
nl Dutch
nn Norwegian Nynorsk
no Norwegian
nr South Ndebele
nv Navajo
ny Chichewa
oc Occitan
oj Ojibwa
om Oromo
or Oriya
os Ossetian
pa Punjabi
pi Pali
pl Polish
ps Pashto
pt Portuguese
qu Quechua
rm Romansh
rn Rundi
ro Romanian
ru Russian
rw Kinyarwanda
sa Sanskrit
sc Sardinian
sd Sindhi
se Northern Sami
sg Sango
si Sinhala
sk Slovak
sl Slovenian
sm Samoan
sn Shona
so Somali
sq Albanian
sr Serbian
ss Swati
st Southern Sotho
su Sundanese
sv Swedish
sw Swahili
ta Tamil
te Telugu
tg Tajik
th Thai
ti Tigrinya
tk Turkmen
tl Tagalog
tn Tswana
to Tonga
tr Turkish
ts Tsonga
tt Tatar
tw Twi
ty Tahitian
ug Uyghur
uk Ukrainian
ur Urdu
uz Uzbek
ve Venda
vi Vietnamese
vo Volapük
wa Walloon
wo Wolof
xh Xhosa
yi Yiddish
yo Yoruba
za Zhuang
zh Chinese
zu Zulu""".splitlines()
)
"""All of ISO 639-1."""

_VARIANTS = {
    "Hans": "simplified characters", "Hant": "traditional characters", "Latn": "Latin script",
    "Cyrl": "Cyrillic script", "Arab": "Arabic script", "Deva": "Devanagari script",
    "AT": "Austria", "BR": "Brazil", "CA": "Canada", "CH": "Switzerland", "CN": "China", "DE": "Germany",
    "EG": "Egypt", "ES": "Spain", "FR": "France", "GB": "United Kingdom", "HK": "Hong Kong", "IN": "India",
    "MX": "Mexico", "PT": "Portugal", "SA": "Saudi Arabia", "TW": "Taiwan", "US": "United States",
    "419": "Latin America",
}  # fmt: skip

_SCRIPTS = {
    "Han": "zh",
    "Kana Han": "ja",
    "Hangul": "ko",
    "Arabic": "ar fa ur ps ug sd",
    "Cyrillic": "ru uk bg be mk ky tg tt ba ce cv kv os ab av cu",
    "Cyrillic Latin": "sr uz kk",
    "Cyrillic Mongolian": "mn",
    "Latin Cyrillic": "az bs tk",
    "Latin Arabic": "ku ms ha",
    "Arabic Devanagari": "ks",
    "Greek": "el",
    "Hebrew": "he yi",
    "Devanagari": "hi mr ne sa pi",
    "Bengali": "bn as",
    "Gurmukhi Arabic": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Lao": "lo",
    "Tibetan": "bo dz",
    "Burmese": "my",
    "Georgian": "ka",
    "Armenian": "hy",
    "Ethiopic": "am ti",
    "Khmer": "km",
    "Thaana": "dv",
    "Yi": "ii",
    "Avestan": "ae",
    "Canadian Latin": "cr iu oj",
}
"""Scripts -> the languages that are written in them; all others are written in Latin letters."""
_OF = {
    code: tuple(scripts.split()) for scripts, codes in _SCRIPTS.items() for code in codes.split()
}
_BY_SUBTAG = {
    "Latn": ("Latin",), "Cyrl": ("Cyrillic",), "Arab": ("Arabic",), "Deva": ("Devanagari",),
    "Hans": ("Han",), "Hant": ("Han",),
}  # fmt: skip

_MEANT = {
    "cn": "zh", "cz": "cs", "dk": "da", "ge": "ka", "gr": "el", "il": "he", "in": "hi", "iw": "he",
    "jp": "ja", "kr": "ko", "mx": "es-MX", "rs": "sr", "tw": "zh-Hant", "ua": "uk", "vn": "vi",
}  # fmt: skip
"""Countries, and what is spoken there."""

_CODE = re.compile(r"(?P<base>[A-Za-z]{2,3})(?P<rest>(?:[-_](?:[A-Za-z]{4}|[A-Za-z]{2}|\d{3}))*)")


@dataclass(frozen=True, order=True)
class Language:
    code: str
    """`zh`, `pt-BR`, `zh-Hant`: lower case, then Title for a script, upper case for a region."""

    @property
    def base(self) -> str:
        return self.code.partition("-")[0]

    @property
    def name(self) -> str:
        name = NAMES.get(self.base)
        if name is None:
            return self.code
        variants = [_VARIANTS.get(part, part) for part in self.code.split("-")[1:]]
        return f"{name} ({', '.join(variants)})" if variants else name

    @cached_property
    def scripts(self) -> tuple[str, ...]:
        """Names of its scripts in `syphus.translate.scripts`; empty where they are not known."""
        for part in self.code.split("-")[1:]:
            if part in _BY_SUBTAG:
                return _BY_SUBTAG[part]
        return _OF.get(self.base, ("Latin",)) if self.base in NAMES else ()


ENGLISH = Language("en")


def language_of(code: str) -> Language:
    """Return the language of a code, in any case and with `-` or `_`.

    Raises:
        MimicitError: there is no such language.
    """
    match = _CODE.fullmatch(code.strip())
    if match:
        base = match["base"].lower()
        parts = [_cased(part) for part in re.split("[-_]", match["rest"]) if part]
        if base in NAMES or len(base) == 3:
            return Language("-".join([base, *parts]))
    raise MimicitError(f"{code!r} is no language code{_meant(code.strip())}")


def languages_of(listed: str | Iterable[str]) -> tuple[Language, ...]:
    """Return the languages of a list such as `zh, ja`, each once.

    Raises:
        MimicitError: one is no language, or there is none.
    """
    codes = listed.split(",") if isinstance(listed, str) else listed
    found = dict.fromkeys(language_of(code) for code in codes if code.strip())
    if not found:
        raise MimicitError("no language is named; write codes with commas, as in zh,ja,es")
    return tuple(found)


def _cased(part: str) -> str:
    return part.title() if len(part) == 4 else part.upper()


def _meant(code: str) -> str:
    """Say what somebody may have meant by a code that is none."""
    lower = code.lower()
    by_name = {name.lower(): known for known, name in NAMES.items()}
    names = [by_name[name] for name in get_close_matches(lower, by_name, n=2, cutoff=0.75)]
    if lower in _MEANT:
        names = [_MEANT[lower], *names]
    if not names and len(lower) <= 3:
        names = get_close_matches(lower, NAMES, n=3, cutoff=0.5)
    if not names:
        return "; write codes of ISO 639-1, as in zh,ja,pt-BR"
    meant = " or ".join(f"{known} ({Language(known).name})" for known in names)
    return f"; did you mean {meant}?"
