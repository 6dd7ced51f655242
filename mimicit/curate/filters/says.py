"""Filters of answers that speak of themselves: refusals, and talk of the caption or the boxes that the writer was given.

Whoever sees a picture knows of none of these. Patterns are of the eight languages en, zh, ja, de, fr, es, ko, ar, all in one
expression of RE2, so one pass over a text finds any of them. They are narrow on purpose: a cat that cannot see the picture
on the wall is no refusal. RE2 knows word boundaries of ASCII letters only, hence they stand only beside those.
"""

from __future__ import annotations

from collections.abc import Sequence

from mimicit.curate.base import Either, Field, quoted

_PICTURE = "(?:images?|pictures?|photos?|photographs?|videos?|attachments?|files?|screenshots?)"
_CANNOT = "(?:can['’]?t|can ?not|(?:am|['’]m) (?:currently )?(?:unable|not able) to|(?:do not|don['’]t) have the ability to)"
_START = r"(?:^\W*|[.!?。！？]\s*)"
"""Of a sentence: what stands in quotation marks is somebody's words."""
_REFUSALS = (
    # English
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|text-based)\b[^.!?]*\b(?:i|i['’]m|my)\b",
    r"\bi(?: a|['’])m (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model|text-based)\b",
    rf"\bi(?: | have )?{_CANNOT} (?:directly |actually |currently |physically )?(?:see|view|access|open|display|process|analy[sz]e|look at)"
    rf" (?:the|this|that|your|any|an|a|these|those)? ?(?:actual |attached |provided |uploaded )?{_PICTURE}"
    r"(?:[^\w\s]|$| (?:you|that|here|directly|attached|provided|itself|because|as|so|since|or|and|but|at (?:this|the) (?:time|moment)|right now|in (?:this|our)))",
    rf"\bi(?: )?(?:{_CANNOT}|won['’]t be able to|will not be able to) (?:assist|comply|fulfill?|help (?:you\b|with|here)|provide (?:any )?(?:assistance|help))",
    r"\bi(?: a|['’])m (?:currently |sorry, i am )?(?:unable|not able) to (?:see|view|access|open|process|identify|recogni[sz]e|determine)\b",
    r"\bi (?:do not|don['’]t) have the (?:ability|capability|capacity|means) to\b",
    rf"\bi(?: )?{_CANNOT} (?:answer|complete|process) (?:this|that|your|the) (?:question|request)\b",
    rf"\bi (?:do not|don['’]t) have (?:direct )?access to (?:the|this|that|your|any) (?:actual |attached )?{_PICTURE}",
    _START + r"i(?: a|['’])m (?:so |very |really |truly )?sorry,? (?:but|i)\b",
    _START
    + r"(?:sorry|my apologies|i apologi[sz]e|unfortunately)\b[^.!?]*\bi(?: |['’])(?:m unable|can['’]?t|can ?not|am unable|am not able|m not able|do not|don['’]t|couldn['’]t|won['’]t)",
    rf"\b(?:no|without an?) {_PICTURE} (?:is |was |has been |were )?(?:attached|provided|uploaded|shared|included)\b",
    rf"(?:^|[.!?,;:] ?|\b(?:but|so|and|could you|can you|would you|if you) )please (?:upload|provide|share|attach|send) (?:me )?(?:the|an?|your) {_PICTURE}",
    # Chinese, Japanese
    "作为(?:一个|一名|一款|一种)?(?:AI|人工智能|大?型?语言模型)[^。！？]*我",
    "我(?:是一个|是一名)?(?:无法|不能|没办法|没有办法)(?:直接|实际)?(?:看到|查看|访问|打开|识别|分析|处理|浏览)(?:这张|这幅|该|您|你|此|任何|具体)?(?:的|提供的|上传的)?(?:图片|图像|照片|视频)",
    _START + "(?:很|非常|十分)?(?:抱歉|对不起|不好意思)[，,]?(?:但|我|由于|因为|无法)",
    "(?:私|わたし)は(?:AI|人工知能|(?:大規模)?言語モデル)|AI(?:アシスタント|言語モデル)?として、",
    "(?:画像|写真|動画)(?:を|は)(?:直接)?(?:見る|確認する|表示する|分析する|閲覧する|認識する)ことは?が?でき(?:ません|ない)",
    _START
    + "(?:大変|誠に)?(?:申し訳(?:ありません|ございません|ないです)|すみません|ごめんなさい)(?:が|、|。)",
    # German, French, Spanish
    r"\bals (?:eine? )?(?:ki\b|künstliche intelligenz|(?:ki-|großes )?sprachmodell)[^.!?]*\b(?:ich|mir|mich)\b",
    r"\b(?:ich kann|kann ich) (?:leider )?(?:(?:das|dieses|ihr|dein) (?:bild|foto|video)|(?:die|keine|diese) (?:bilder|fotos|videos)) (?:leider )?(?:nicht )?(?:direkt )?(?:sehen|öffnen|anzeigen|ansehen|analysieren|betrachten)",
    _START + r"(?:es )?tut mir (?:sehr )?leid,? (?:aber|ich|doch|dass)\b",
    r"\ben tant qu['’](?:ia\b|intelligence artificielle|assistant (?:ia|virtuel)|modèle de langage)[^.!?]*\bje\b",
    r"\bje (?:ne (?:peux|puis) (?:malheureusement )?(?:pas )?|suis incapable de |ne suis pas (?:en mesure|capable) de )(?:voir|afficher|ouvrir|consulter|visualiser|analyser|accéder à) (?:l['’]|la |les |cette |votre |vos |d['’])(?:images?|photos?|vidéos?)",
    _START + r"(?:je suis (?:vraiment |sincèrement )?)?désolée?s?,? (?:mais|je)\b",
    r"\bcomo (?:una? )?(?:ia\b|inteligencia artificial|modelo de lenguaje|asistente (?:de ia|virtual))[^.!?]*\b(?:no|puedo|soy|tengo)\b",
    r"\bno puedo (?:ver|acceder a|abrir|visualizar|analizar) (?:la|las|esta|tu|su|el|ninguna)? ?(?:imagen|imágenes|fotos?|vídeo|video)(?:[^\w\s]|$| (?:que|porque|ya|proporcionada|adjunta))",
    _START + r"lo siento(?: mucho)?,? (?:pero|no)\b",
    r"\b(?:je n['’]ai pas accès à (?:l['’]image|la photo|la vidéo)|no tengo acceso a (?:la imagen|la foto|el vídeo)|ich habe keinen zugriff auf (?:das bild|das foto))",
    r"\bich bin (?:nur |bloß |lediglich )?(?:eine? )?(?:ki\b|künstliche intelligenz|(?:ki-|großes )?sprachmodell|textbasiert)|\bkann (?:ich )?keine (?:bilder|fotos|videos) (?:sehen|öffnen|ansehen|analysieren|betrachten)",
    _START + r"(?:entschuldigung|verzeihung),? (?:aber|ich|doch)\b",
    r"\bje suis (?:juste |seulement |simplement )?(?:une? )?(?:ia\b|intelligence artificielle|modèle de langage|assistant (?:ia|virtuel))|\bsoy (?:solo |sólo |simplemente )?(?:una? )?(?:ia\b|inteligencia artificial|modelo de lenguaje|asistente (?:de ia|virtual))",
    "我(?:只)?是(?:一个|一名|一款|一种)?(?:AI|人工智能|(?:大型?)?语言模型)|我[^。！？]{0,8}看不到(?:这张|该|您的?|任何)?(?:图片|图像|照片)|AI助手，看不到",
    "(?:画像|写真|動画)(?:を|は)(?:直接)?(?:確認|表示|分析|閲覧|認識)(?:が|は)?でき(?:ません|ない)",
    r"(?:^|[.!?]\s*)(?:저는 |지금 |현재 )?(?:이미지|사진|영상)(?:을|를) (?:직접 )?(?:볼|확인할|열|분석할) 수(?:가|는)? 없|저는 (?:AI|인공지능|언어 ?모델)",
    "أنا (?:مجرد )?(?:نموذج لغوي|ذكاء اصطناعي|برنامج|مساعد)|^(?:للأسف|مع الأسف)،? لا (?:أستطيع|يمكنني)",
    "我(?:没有|无)(?:权限|法)?访问(?:该|这张|此)?(?:图片|图像|照片)|(?:画像|写真)に(?:は)?アクセスでき(?:ません|ない)|(?:이미지|사진)에 접근할 수 없",
    # Korean, Arabic
    "(?:AI|인공지능|언어 ?모델)(?: 언어 ?모델)?(?:로서|이기 때문에|이므로|이라서|라서)",
    "저는 (?:이미지|사진|그림|영상)(?:을|를) (?:직접 )?(?:볼|확인할|열|분석할|표시할) 수(?:가)? 없",
    _START + "(?:대단히 )?(?:죄송합니다|죄송하지만|미안합니다|미안하지만|유감스럽지만)",
    "(?:بصفتي|كوني|باعتباري|أنا مجرد) (?:نموذج|ذكاء|مساعد)",
    "لا (?:يمكنني|أستطيع) (?:رؤية|عرض|فتح|مشاهدة|الوصول إلى|تحليل) (?:هذه |أي )?(?:ال)?صورة?",
    _START + "(?:عذر[اًا]+|آسفة?|أعتذر)[،, ]",
)
_HEDGES = (
    r"\b(?:it is|it['’]s) (?:difficult|hard|impossible|not possible) to (?:tell|say|determine|know)\b",
    rf"\bi {_CANNOT} (?:tell|say|determine|identify|be sure)\b",
    r"\bit (?:can ?not|can['’]t) be determined\b",
    "无法确定|无法判断|难以判断|判断できません|判断できない|lässt sich nicht (?:sagen|feststellen|erkennen)",
    "impossible de (?:dire|savoir|déterminer)|no (?:se puede|es posible) determinar|알 수 없|لا يمكن تحديد",
)


def refusal(*, hedges: bool = False, field: Field = "answer") -> str:
    """Drop an answer that refuses, or says that it cannot see the picture.

    Args:
        hedges: Also one that says what cannot be told; that can be the honest answer.
        field: Which text.
    """
    return _saying(field, _REFUSALS + (_HEDGES if hedges else ()), "it refuses: %s")


_NOUN = "(?:captions?|descriptions?|annotations?|metadata|bounding box(?:es)?)"
_VAGUE = "(?:information|details|context|text|data|input)"
_GIVEN = "(?:provided|given|supplied|available|accompanying)"
_BY = r"(?:\b(?:based (?:up)?on|according to|judging (?:by|from)|going by|inferred from|as per|as (?:described|mentioned|stated|noted|indicated) in) )"
_BOILERPLATE = (
    rf"{_BY}(?:the |this |these |your )?(?:{_GIVEN} )?(?:image |picture |scene )?{_NOUN}\b",
    rf"{_BY}(?:the |this |these )?(?:{_GIVEN} (?:image )?{_VAGUE}|{_VAGUE} (?:{_GIVEN}|alone))\b",
    rf"\b(?:mentioned|specified|provided|described|stated|indicated|given) in the (?:{_GIVEN} )?(?:image )?(?:{_NOUN}|{_VAGUE})\b",
    rf"\b(?:in|from) the {_GIVEN} (?:image )?(?:{_NOUN}|{_VAGUE})\b",
    rf"\bthe (?:{_GIVEN} )?(?:image )?(?:{_NOUN}|{_GIVEN} {_VAGUE}|{_VAGUE} {_GIVEN}) (?:does not|doesn['’]t|do not|don['’]t|says?|states?|mentions?|indicates?|suggests?|provides?|specif(?:y|ies))\b",
    "(?:根据|基于|依据)(?:所|您|你)?(?:(?:提供|给出|给定|上述|以上)的?(?:图片|图像)?(?:的)?(?:描述|标题|说明|信息|标注|内容)|(?:图片|图像)?(?:的)?(?:描述|标题|标注)(?:，|,|可知|来看))",
    "(?:提供|与え|示)(?:さ|ら)れた(?:画像の)?(?:情報|説明|キャプション|記述)|(?:キャプション|説明文)(?:に(?:よれば|よると|基づ)|から判断)",
    r"\b(?:basierend auf|laut|gemäß|anhand|ausgehend von) de[rnm] (?:(?:bereitgestellten|gegebenen|angegebenen|vorliegenden) )?(?:bild)?(?:beschreibung|unterschrift)",
    r"\b(?:basierend auf|laut|gemäß|anhand|ausgehend von|nach) de[rnm] (?:bereitgestellten|gegebenen|vorliegenden) (?:informationen|angaben|daten)",
    r"(?:d['’]après|selon|sur la base de|en se basant sur) (?:la |les |l['’])(?:description|légende|annotation)s?\b",
    r"(?:d['’]après|selon|sur la base des?|en se basant sur) (?:les |l['’])?informations? (?:fournies?|données?)",
    r"\b(?:según|de acuerdo con|con base en|basándo(?:me|nos|se) en) (?:la|las|el) (?:descripci[oó]n|leyenda|pie de foto|anotaci[oó]n)",
    r"\b(?:según|de acuerdo con|con base en|basándo(?:me|nos|se) en) la información (?:proporcionada|dada|suministrada)",
    r"\bin der (?:bild)?beschreibung (?:wird|ist|steht|heißt)\b|\bdie (?:bild)?beschreibung (?:erwähnt|nennt|besagt|sagt|gibt|enthält)\b",
    r"\bla (?:description|légende) (?:ne (?:dit|précise|mentionne|donne|indique)|dit|mentionne|précise|indique)\b|(?:précisée?|mentionnée?|indiquée?) dans la (?:description|légende)\b",
    r"\bla (?:descripci[oó]n|leyenda) (?:no )?(?:menciona|dice|indica|especifica|precisa)\b|(?:mencion|especific|indic)(?:ad[oa]|a) en la (?:descripci[oó]n|leyenda)",
    "描述(?:中|里)?(?:并)?(?:没有|未)(?:提到|提及|说明|指出)|描述(?:中|里)(?:提到|提及|说)|설명에(?:는|서는)? [^.]{0,15}(?:언급|명시)|(?:ال)?وصف لا (?:يذكر|يحدد)|لا (?:يذكر|يحدد) الوصف|(?:^|[.!?] )설명에 따르면",
    "(?:제공된|주어진) (?:이미지 )?(?:정보|설명|캡션|자료)|(?:캡션|이미지 설명)에 (?:따르면|의하면|따라)",
    "(?:بناءً? على|بناء على|وفقًا ل|وفقا ل|حسب|استنادًا إلى|استنادا إلى) ?(?:ال|لل|ل)?(?:وصف|معلومات المقدمة|المعلومات المقدمة|تعليق) ?(?:المقدم|المعطى|الصورة|،|المقدمة)",
)
_VISIBLE = r" (?:on|of the (?:sign|plaque|box|label|book|card|painting|menu)|at|beside|below|under|printed|written|auf|an|am|sur|du panneau|de l['’]affiche|del|en (?:el|la))\b"
"""What follows where the text is one that can be read in the picture."""


def boilerplate(*, field: Field = "answer") -> str:
    """Drop a text that refers to what its writer was given: "based on the caption", "the description does not say"."""
    visible = tuple(f"(?:{pattern}){_VISIBLE}" for pattern in _BOILERPLATE)
    return _saying(field, _BOILERPLATE, "it refers to what its writer was given: %s", visible)


_CAPTIONS = (
    r"\bcaptions?\b",
    "キャプション|캡션|\\bbildunterschrift(?:en)?\\b|\\bpie de foto\\b",
    "(?:图片|图像|照片)的?标题|التعليق التوضيحي|تعليق الصورة",
    r"\bla légende (?:de l['’]image|de la photo|indique|dit|mentionne|décrit)",
)
_SEEN_CAPTIONS = (
    r"\b(?:news|newscast|subtitles?|telecast|broadcast|memes?|cartoon|comic)\b",
    r"\b(?:suggest|write|give|create|invent|compose|propose|think of|come up with)\b[^.?!]{0,40}\bcaption",
)
"""Where captions are in the picture, or are asked for."""
_ANNOTATIONS = (
    r"\b(?:bounding[- ]?box(?:es)?|bbox(?:es)?|annotators?|ground[- ]truth|segmentation masks?|confidence scores?|object detect(?:ion|or)s?)\b",
    r"<(?:box|bbox|ref|point)>|\bx_?(?:min|max|1|2)\s*[=:]",
    r"\b(?:the|these|given|provided|image|object|according to) annotations?\b|\bannotated (?:objects?|things|regions?|boxes)\b",
    r"\b(?:les|des) annotations\b|\b(?:las|según) anotaciones (?:indican|dicen|muestran|mencionan)|标注(?:显示|信息|数据|中|里)|境界ボックス|주석(?:에는|에 따르면)|التعليقات? التوضيحية",
    r"\b(?:the|these|given|provided|box|pixel|normali[sz]ed|with|at|x|y)[- ]coordinates?\b|\bcoordinates? (?:of|are|is|\()",
    "边界框|标注框|标注信息|检测框|的坐标|坐标为|坐标是|バウンディングボックス|アノテーション|座標",
    r"\bbegrenzungs(?:rahmen|box)|\b(?:die|den|der|mit) (?:bild)?koordinaten\b|\b(?:die|den|laut) annotation(?:en)?\b",
    r"\bboîtes? (?:englobantes?|de délimitation)|\b(?:les|aux) coordonnées\b|\b(?:cuadros?|cajas?) delimitador(?:[ae]s?)?\b|\bcoordenadas\b",
    "바운딩 ?박스|경계 ?상자|좌표|(?:مربع|صندوق)(?:ات)? (?:ال)?(?:محيط|إحاطة|الإحاطة)|إحداثيات",
)
_TIMES = (
    r"\b(?:time ?stamps?)\b|时间戳|タイムスタンプ|zeitstempel|horodatage|marcas? de tiempo|타임스탬프|(?:ال)?طابع (?:ال)?زمني",
    r"\b(?:at|from|between|until|by|after|around) (?:about |around |the )?\d{1,3}(?:\.\d+)?(?: ?s\b| ?sec\b| ?seconds?\b|[- ]seconds? mark)",
    r"\b(?:at|from|around|until|after|by) second \d|\b\d{1,3}(?:\.\d+)? ?(?:-|–|to|and) ?\d{1,3}(?:\.\d+)? ?(?:seconds\b|s\b)",
    r"第\s?\d+(?:\.\d+)?\s?秒|\d+(?:\.\d+)?秒(?:の時点|时|時|处|地点)|\d+(?:\.\d+)?초(?:에|부터|쯤|까지)|\b(?:bei|ab|nach) (?:sekunde \d|\d+(?:[.,]\d+)? sekunden)",
    r"(?:^|[^\p{L}])à (?:la seconde \d|\d+(?:[.,]\d+)? secondes)|\ben el segundo \d|(?:عند|في) الثانية \d",
)
_STAMP = r"(?:^|[^\d:.])(0\d:[0-5]\d(?:[:.]\d+)?)(?:$|[^\d:])"
"""Minutes of a video; but a clock in a picture may show the same."""
_CLOCK = "(?i)clock|watch|alarm|display|timer|o['’]clock|[ap]\\.?m\\b|what time|schedule|timetable|depart|arriv|(?:leaves|opens|closes) at|screen|钟|表|時計|時刻|uhr|horloge|heure|reloj|hora|시계|시간|ساعة"


def annotation_talk(*, captions: bool = True, stills: bool = True, field: Either = "either") -> str:
    """Drop a text that speaks of captions, boxes, coordinates, annotations or times within a video.

    Args:
        captions: Also of captions. Without, for questions about what is written in pictures.
        stills: The pictures are no video: also times, such as 00:12 where there is no clock, or "at 3.5 seconds".
        field: Which text.
    """
    speaks = "it speaks of annotations: %s"
    said = _saying(field, _ANNOTATIONS + (_TIMES if stills else ()), speaks)
    if captions:
        said = f"coalesce({said}, {_saying(field, _CAPTIONS, speaks, _SEEN_CAPTIONS)})"
    if not stills:
        return said
    text, both = _text(field), "concat_ws(' ', instruction, answer)"
    stamp = (
        f"CASE WHEN contains({text}, ':') AND regexp_matches({text}, {quoted(_STAMP)}) AND NOT regexp_matches({both}, {quoted(_CLOCK)}) "
        f"THEN printf('it speaks of annotations: %s', regexp_extract({text}, {quoted(_STAMP)}, 1)) END"
    )
    return f"coalesce({said}, {stamp})"


def _saying(field: str, patterns: Sequence[str], said: str, but: Sequence[str] = ()) -> str:
    """Return an expression that quotes what one of the patterns finds, where none of `but` does."""
    text, pattern = _text(field), quoted("(?i)" + "|".join(f"(?:{one})" for one in patterns))
    condition = f"regexp_matches({text}, {pattern})"
    if but:
        condition += f" AND NOT regexp_matches({text}, {quoted('(?i)' + '|'.join(but))})"
    found = f"left(trim(regexp_extract({text}, {pattern})), 80)"
    return f"CASE WHEN {condition} THEN printf({quoted(said)}, {found}) END"


def _text(field: str) -> str:
    return "concat_ws(chr(10), instruction, answer)" if field == "either" else field
