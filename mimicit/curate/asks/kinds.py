"""What kind of question a text is, in eight languages, by the words that ask.

Patterns are tried in the order of `KINDS`, the first that is found says it. In English, German, French and Spanish a question word counts where a
sentence or clause begins, perhaps behind a preposition, for elsewhere it joins clauses ("the man who sits"); in Chinese, Japanese, Korean and Arabic it counts
anywhere in the question.
"""

from __future__ import annotations

import re
from functools import cache

KINDS = (
    "choice",
    "describe",
    "how many",
    "which",
    "where",
    "when",
    "why",
    "who",
    "how",
    "what",
    "yes-no",
    "command",
    "question",
    "statement",
)
"""`choice` has options to choose from (A. …, B. …); `describe` asks for a description, explanation or summary; `command` for anything else
that is to be done; `question`, in other languages, for any; `statement` asks nothing. The others are what they say; `which` is also whose answer is one of several."""

_OPTIONS = re.compile(
    r"(?:^|[\s(（\[])A\s?[.):：、）\]]\s*\S.*?[\s)(（\[]B\s?[.):：、）\]]\s*\S", re.DOTALL
)
_MARKS = re.compile(r"<[a-z_]+>|\[(?:image|video)\]", re.IGNORECASE)
_ASKED = re.compile(r"[^.!?。！？؟\n]*[?？؟]")
_LEAD = {
    # What may stand before a question word.
    "de": r"(?:(?:auf|in|an|aus|mit|von|für|zu|bei|über|unter|um|seit|nach|und|aber|also|nun|bitte sag mir|sag mir|weißt du)\s+)?",
    "fr": r"(?:(?:à|de|en|dans|sur|avec|pour|par|depuis|vers|et|mais|alors|dites-moi|dis-moi|sais-tu|savez-vous)\s+|d')?",
    "es": r"(?:(?:a|de|en|con|por|para|sobre|desde|hacia|y|pero|dime|sabes)\s+)?",
}
# Few signs may come between: of a long row of them each one would be a beginning.
_START = {code: rf"(?:^|[,;:¿¡]\s{{0,4}}|\s¿)\W{{0,8}}{lead}" for code, lead in _LEAD.items()}

_WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "describe": "描述|描写|形容|说明|解释|介绍|概括|总结|讲述|说一说|谈谈",
        "how many": "几(?:个|只|人|位|名|条|张|辆|匹|头|本|把|朵|棵|种|次|岁|层|件|双|点|座|架|艘|群|块|杯|台|根|幅|支|瓶)|多少",
        "which": "哪(?:一|些|个|种|只|张|位|幅|条|辆|边|两|类|本|座|项)",
        "where": "哪里|哪儿|何处|什么地方|什么位置|在哪",
        "when": "什么时候|何时|什么时间|几点|哪一?(?:年|天)",
        "why": "为什么|为何|什么原因|怎么会|何以",
        "who": "谁|什么人",
        "how": "怎么|怎样|如何|怎么样|多(?:大|高|长|远|重|深|宽)",
        "what": "什么|啥",
        "yes-no": "吗|是否|是不是|有没有|能不能|会不会|对不对|[么吧]？|(.)不\\1",
        "command": "^\\W*(?:请|帮|给|写|列|找|指出|比较|数|生成|创作|回答)",
    },
    "ja": {
        "describe": "説明|描写|記述|要約|述べて|紹介して|解説",
        "how many": "いくつ|何(?:人|個|匹|台|枚|本|頭|羽|冊|回|歳|つ|杯|軒|隻|機|色|種類)|幾つ",
        "which": "どの|どれ|どちら|どっち",
        "where": "どこ|何処",
        "when": "いつ|何時",
        "why": "なぜ|何故|どうして|なんで",
        "who": "誰|だれ|どなた",
        "how": "どう(?:やって|です|なって|見え|思|し|い)?|どのよう|どんなふう|どれ(?:くらい|ほど)",
        "what": "何|なに|なんの|どんな",
        "yes-no": "か[。？?]?\\s*$|ますか|ですか|[？?]\\s*$",
        "command": "(?:ください|なさい|下さい|しろ|せよ|よう)[。！]?\\s*$",
    },
    "ko": {
        "describe": "설명|묘사|서술|요약|소개|기술하",
        "how many": "몇(?!\\s*시(?!간))|얼마나 많은|개수",
        "which": "어느|어떤 것|어느 것",
        "where": "어디",
        "when": "언제|몇\\s*시(?!간)",
        "why": "왜|어째서",
        "who": "누구|누가",
        "how": "어떻게|어때|얼마나",
        "what": "무엇|무슨|뭐|뭘|뭔|어떤|무얼",
        "yes-no": "(?:까|나요|가요|니|어요|아요|ㅂ니까|지요|죠|는지)[?？]?\\s*$|[?？]\\s*$",
        "command": "(?:세요|십시오|시오|해라|하라|줘|주세요|보자)[.!]?\\s*$",
    },
    "ar": {
        "describe": "(?:^|\\s)(?:صف|صفي|صِف|اوصف|اشرح|اشرحي|لخص|لخّص|وضح|حدثني|أخبرني عن)(?:\\s|$)|وصف",
        "how many": "(?:^|\\s)(?:و|ف)?كم(?:\\s|$)",
        "which": "(?:^|\\s)(?:في |من |إلى )?أي(?:ة|ّ|هما)?(?:\\s|$)",
        "where": "أين",
        "when": "متى",
        "why": "لماذا|لِماذا|لم\\s",
        "who": "^\\W*(?:و|ف)?(?:ل|مع )?مَ?ن\\s",
        "how": "كيف",
        "what": "(?:^|\\s)(?:و|ف|ب|ل)?ماذا|^\\W*(?:و|ف)?ما\\s",
        "yes-no": "(?:^|\\s)(?:هل|أ(?:ليس|هو|هي|هذا|هناك|يوجد))",
        "command": "^\\W*(?:اكتب|اذكر|قارن|عد|حدد|أعط|أجب|ارسم|اختر|ابحث)",
    },
    "de": {
        "describe": r"\b(?:beschreib|erklär|erläuter|schilder|zusammenfass|fass\w* .*zusammen|erzähl)",
        "how many": "wie\\s*viele?",
        "which": "welche[rsmn]?",
        "where": "wo|wohin|woher",
        "when": "wann|um wie viel uhr|wie spät",
        "why": "warum|weshalb|wieso|wozu",
        "who": "wer|wen|wem|wessen",
        "how": "wie",
        "what": "was|wo(?:mit|ran|raus|rauf|rin|von|vor|für|nach|rüber|zu|durch|bei|gegen)",
        "yes-no": r"^\W*(?:und |aber )?(?:ist|sind|war|waren|hat|haben|hatte|kann|können|könnte|wird|werden|würde|gibt|siehst|sehen|trägt|tragen|steht|stehen|sitzt|sitzen|liegt|liegen|befinde\w*|scheint|darf|soll|muss|will|hält|\w+(?:t|en|st))\s.*\?",
        "command": r"^\W*(?:bitte\s+)?(?:nenne?|zähle?|schreibe?|liste?|finde?|gib|geben|vergleiche?|zeige?|erstelle?|sag|such|wähle?|ordne|identifiziere?)\b",
    },
    "fr": {
        "describe": r"\b(?:décri[svt]|décrivez|expliqu|résum|raconte|présente|donne\w* une description|fai(?:s|tes) une description)",
        "how many": r"combien",
        "which": r"lequel|laquelle|lesquel(?:le)?s",
        "where": "où",
        "when": "quand|à quelle heure",
        "why": "pourquoi",
        "who": "qui",
        "how": "comment",
        "what": "que|quoi|qu'|quel(?:le)?s?",
        "yes-no": r"est-ce qu|\w+-(?:t-)?(?:il|elle|ils|elles|on|vous|tu|ce)\b|^\W*(?:y a|il y a|est|sont|le|la|les|l'|un|une|ce|cette|des|vois|voyez|peut|peux)\b.*\?",
        "command": r"^\W*(?:s'il (?:te|vous) plaît,?\s*)?(?:\w+ez|écri[st]|liste|nomme|donne|compare|trouve|compte|indique|montre|fais|dis|identifie|cite)\b",
    },
    "es": {
        "describe": r"\b(?:descri|explic|resum|cuénta|narr|detall)",
        "how many": r"cuánt[oa]s?",
        "which": r"cuál(?:es)? de",
        "where": "dónde|adónde",
        "when": "cuándo|a qué hora",
        "why": "por qué",
        "who": "quién(?:es)?",
        "how": "cómo",
        "what": r"qué|cuál(?:es)?",
        "yes-no": r"¿[^?]+\?|^\W*(?:es|son|está|están|hay|tiene|puede|ves|lleva)\b.*\?",
        "command": r"^\W*(?:por favor,?\s*)?(?:escrib|list|nombr|da(?:me)?\b|compar|encuentr|cuent|indic|muestr|haz|di\b|identific|enumer|men?cion)",
    },
}


@cache
def _patterns(code: str) -> list[tuple[str, re.Pattern[str]]]:
    start, words = _START.get(code, ""), _WORDS[code]
    found = []
    for kind in KINDS:
        if kind not in words:
            continue
        asks = start and kind not in ("describe", "yes-no", "command")
        end = r"(?:(?<=')|(?!\w))" if asks else ""
        text = f"{start}(?:{words[kind]}){end}" if asks else words[kind]
        found.append((kind, re.compile(text, re.IGNORECASE)))
    return found


def has_options(text: str) -> bool:
    return "A" in text and _OPTIONS.search(text) is not None


def unmarked(text: str) -> str:
    """Leave out the marks of pictures."""
    return _MARKS.sub(" ", text) if "<" in text or "[" in text else text


def kind_of(text: str, code: str) -> str:
    """Say what kind of question a text is, in a language that is not English.

    Args:
        text: The whole of it.
        code: Its language; of one that is not known here, only the question mark is.
    """
    if has_options(text):
        return "choice"
    text = unmarked(text)
    asked = _ASKED.search(text)
    if code not in _WORDS:
        return "question" if asked else "statement"
    for said in (asked.group(), text) if asked else (text,):
        for kind, pattern in _patterns(code):
            if asked and kind in ("describe", "command") and said is text:
                continue
            if not asked and kind == "yes-no" and code in ("de", "fr", "es"):
                continue
            if pattern.search(said.strip()):
                return kind
    return "statement"
