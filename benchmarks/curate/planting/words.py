"""Faults in what is said: refusals, talk of notes, abuse, personal data. Sentences as models write them, and some that a person may well say of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .drafts import Draft, Plot

REFUSALS = {
    "en": (
        "I'm sorry, but I can't assist with that request.", "I am unable to view images, so I can't say what the {t} looks like.",
        "As an AI language model, I do not have the ability to see pictures.", "Sorry, I can't see the image you are referring to.",
        "I apologize, but I cannot determine that from here.", "Unfortunately, I am not able to open the photo.",
        "I can't help with identifying people in photos.", "I'm just a language model and I cannot look at the picture.",
        "Please provide the image so that I can describe it.", "No image was attached to your message.", "I cannot fulfill this request.",
        "I do not have access to the image, so I cannot tell you where it is.", "It seems that there is no picture attached.",
        "As an artificial intelligence, I don't have eyes, and I cannot see what is shown.", "I'm not able to process images at this time.",
        "My apologies, I am unable to identify the person.", "I'm afraid I can't see any image here.", "I cannot view the video.", "I’m unable to see what the {t} looks like, as I can only read text.", "Sorry, but I won't be able to help with that.", "I don't have the capability to view pictures.", "As a text-based AI, I can't look at photographs.", "I can't provide assistance with that.",
    ),
    "de": ("Es tut mir leid, aber ich kann dieses Bild nicht sehen.", "Als KI-Sprachmodell kann ich keine Bilder ansehen.", "Leider kann ich das Bild nicht öffnen.", "Tut mir leid, ich kann dabei nicht helfen.", "Ich bin ein Sprachmodell und kann keine Fotos sehen.", "Entschuldigung, aber das Bild wird mir nicht angezeigt."),
    "fr": ("Je suis désolé, mais je ne peux pas voir cette image.", "En tant que modèle de langage, je ne peux pas analyser d'images.", "Désolé, je ne peux pas vous aider.", "Je ne suis pas en mesure de voir l'image.", "Malheureusement, je ne peux pas ouvrir cette photo.", "Je suis une intelligence artificielle et je ne vois pas les images."),
    "es": ("Lo siento, pero no puedo ver la imagen.", "Como modelo de lenguaje, no puedo analizar fotos.", "Lo siento, no puedo ayudar con eso.", "No puedo acceder a la imagen adjunta.", "Lamentablemente, no puedo ver las fotos.", "Soy una inteligencia artificial y no puedo ver imágenes."),
    "zh": ("很抱歉，我无法查看这张图片。", "作为一个人工智能语言模型，我看不到图像。", "对不起，我不能回答这个问题。", "我无法识别图片中的人物。", "我是一个AI助手，看不到图片。", "抱歉，我没有办法打开这张照片。"),
    "ja": ("申し訳ありませんが、画像を見ることができません。", "私はAIなので、写真を見ることはできません。", "すみませんが、お答えできません。", "AIとして、個人を特定することはできません。", "残念ながら、画像を確認できません。", "私は言語モデルなので、お手伝いできません。"),
    "ko": ("죄송하지만 이미지를 볼 수 없습니다.", "저는 AI 언어 모델이라서 사진을 볼 수 없습니다.", "죄송합니다. 그 질문에는 답할 수 없습니다.", "저는 사진을 직접 볼 수 없습니다.", "저는 인공지능이므로 사진을 볼 수 없어요.", "이미지를 확인할 수 없습니다."),
    "ar": ("عذرًا، لا يمكنني رؤية الصورة.", "بصفتي نموذجًا لغويًا، لا أستطيع رؤية الصور.", "آسف، لا أستطيع المساعدة في ذلك.", "لا يمكنني عرض هذه الصورة.", "أنا نموذج لغوي ولا أرى الصور.", "للأسف، لا أستطيع فتح الصورة."),
}  # fmt: skip
NO_REFUSALS = (
    "He is sorry for the dog.", "The sign says: Sorry, we are closed.", "She cannot see the picture on the wall behind her.",
    "The girl seems to say that she can't help laughing.", "Unfortunately, the bridge is closed for pedestrians.", "The screen shows an AI assistant as a smiling robot.",
    "Sorry-looking flowers hang from the pot.", "The old man is unable to lift the crate.", "The child cannot open the image frame that it holds.",
    "A notice asks visitors to please provide a photo for their pass.", "I can't see any pictures on the walls, only a clock.",
)  # fmt: skip
BOILERPLATE = {
    "en": (
        "Based on the caption, the {t} stands on a table.", "According to the description, there are two people.", "From the given captions, one can tell that it is raining.",
        "The provided information does not mention the {t}.", "As described in the caption, the man is cooking.", "The description states that the {t} is old.",
        "It is not specified in the given text.", "Based on the information provided, she is a nurse.", "Judging from the annotations, it is a cat.",
        "The caption does not say who he is.", "There is no information in the provided context about that.", "According to the bounding boxes, the dog is on the left.", "Going by the caption, it is summer.", "The annotation does not tell us more about the {t}.", "It isn't stated in the description.",
    ),
    "de": ("Laut der Bildbeschreibung ist es ein Hund.", "Basierend auf den bereitgestellten Informationen ist er Koch.", "In der Beschreibung wird das nicht erwähnt.", "Nach den vorliegenden Angaben ist er Lehrer."),
    "fr": ("D'après la description, il y a un chien.", "Selon les informations fournies, il est cuisinier.", "La description ne précise pas la couleur.", "Cela n'est pas précisé dans la légende."),
    "es": ("Según la descripción, hay un perro.", "De acuerdo con la información proporcionada, es cocinero.", "La descripción no menciona el color.", "No se menciona en la descripción."),
    "zh": ("根据描述，这是一只狗。", "根据提供的信息，他是厨师。", "描述中没有提到颜色。", "基于给出的描述，天气很好。"),
    "ja": ("説明文によると、犬です。", "提供された情報に基づくと、彼は料理人です。", "キャプションによれば、雨が降っています。", "与えられた説明から判断すると、夏です。"),
    "ko": ("제공된 설명에 따르면 개입니다.", "주어진 정보에 따르면 그는 요리사입니다.", "이미지 설명에 따르면 비가 옵니다.", "설명에 따르면 여름입니다."),
    "ar": ("بناءً على الوصف، هذا كلب.", "وفقًا للمعلومات المقدمة، هو طباخ.", "حسب وصف الصورة، الجو ممطر.", "لا يذكر الوصف لون الكلب."),
}  # fmt: skip
NO_BOILERPLATE = (
    "According to the description on the plaque, the tower was built in 1612.", "According to the weather map, rain is coming.", "Based on her uniform, she works at the hotel.",
    "The information board stands beside the gate.", "Judging by the shadows, it is early morning.", "The details of the carving are very fine.",
    "The text on the banner mentions a summer festival.", "As stated on the label, the jar holds honey.", "The input socket is at the back of the radio.",
)  # fmt: skip
ANNOTATIONS = {
    "en": (
        "The caption mentions a {t}.", "The bounding box of the {t} is the largest.", "The coordinates of the {t} are given.", "The annotations list three people.",
        "There is a bbox around the {t}.", "At 3.5 seconds, the man stands up.", "At 00:12 the door opens.", "The object detector finds two cats.",
        "The segmentation mask covers the {t}.", "From 2 to 9 seconds he runs.", "Its x-coordinate is smaller.", "The ground truth says that it is a dog.",
        "The time stamp tells when it happens.", "The captions all speak of a {t}.", "All captions agree that there is a {t}.", "Around second 12 she turns away.", "The labels and bounding boxes show two dogs.", "Its box spans x1=20 to x2=90.", "It can be found at coordinates (0.4, 0.6).",
    ),
    "de": ("Die Bildunterschrift nennt einen Hund.", "Die Begrenzungsbox liegt links.", "Die Koordinaten zeigen, wo er steht.", "Bei Sekunde 4 steht er auf.", "Der Zeitstempel zeigt den Beginn."),
    "fr": ("Les coordonnées indiquent sa place.", "La boîte englobante est à gauche.", "La légende de l'image parle d'un chien.", "À la seconde 4, il se lève.", "L'horodatage montre le début."),
    "es": ("Las coordenadas indican su sitio.", "El cuadro delimitador está a la izquierda.", "El pie de foto habla de un perro.", "En el segundo 4 se levanta.", "La marca de tiempo muestra el inicio."),
    "zh": ("它的坐标在左边。", "边界框里有一只狗。", "在第3秒，他站了起来。", "图片标题提到一只狗。", "时间戳显示开始的时间。"),
    "ja": ("座標は左側です。", "バウンディングボックスの中に犬がいます。", "キャプションに犬とあります。", "3秒の時点で彼は立ち上がります。", "アノテーションには犬があります。"),
    "ko": ("좌표는 왼쪽입니다.", "바운딩 박스 안에 개가 있습니다.", "캡션에 개가 있다고 합니다.", "3초에 그가 일어납니다.", "타임스탬프는 시작을 보여 줍니다."),
    "ar": ("إحداثيات الكلب في اليسار.", "المربع المحيط كبير.", "عند الثانية 4 يقف الرجل.", "التعليق التوضيحي يذكر كلبا.", "الطابع الزمني يظهر البداية."),
}  # fmt: skip
NO_ANNOTATIONS = (
    "The captain wears a white cap.", "The dancers coordinate their steps well.", "Their outfits are coordinated in blue.", "The clock on the tower shows 00:12.",
    "It is half past ten, says the watch.", "The match stands at 3:2.", "The box is bound with string.", "Two boxers touch gloves inside the ring.", "He has 30 seconds left on the timer.",
    "The second runner from the left is ahead.", "The gate opens at 10:30, as the sign tells.", "She was born in the 1960s, judging by the photo album.",
    "The bus leaves at 07:45, according to the timetable.", "A masked man stands at the door.",
)  # fmt: skip
TOXIC = {
    "en": ("What a fucking mess this is.", "That asshole is in the way.", "This is bullshit, you know.", "He looks retarded.", "Kill yourself, says the writing.", "SHIT, there is a dog."),
    "de": ("Der Typ ist ein Arschloch.", "Das ist doch Scheiße.", "Dieser Hurensohn steht im Weg."),
    "fr": ("Ce connard bloque la route.", "Quelle salope, celle-là."),
    "es": ("Ese gilipollas está en medio.", "Es un hijo de puta."),
    "zh": ("这个傻逼站在路中间。", "他妈的，这是什么。"),
    "ja": ("このクソ野郎が邪魔です。", "くたばれと書いてあります。"),
    "ko": ("이 병신이 길을 막고 있다.", "씨발, 이게 뭐야."),
    "ar": ("هذه عاهرة في الطريق.",),
}  # fmt: skip
NO_TOXIC = (
    "A blue tit sits on the feeder.", "The cock crows on the dunghill.", "The donkey, an ass with long ears, eats hay.", "A bitch and her puppies sleep in the basket.",
    "The sign points to Scunthorpe and Penistone.", "A Shih Tzu shivers in the shallow water.", "Moby Dick is printed on the spine.", "The shuttlecock flies over the net.",
    "He is a cocksure young rider.", "A matsutake and a shiitake lie on the board.",
)  # fmt: skip
ABUSE = (
    "You are a stupid piece of garbage and everybody hates you.", "Shut up, you ugly idiot, nobody asked you, you pathetic loser.", "I hate this dumb bitch and her stupid face.",
    "What a bunch of filthy idiots, they suck and should all die.", "Only a moron and a dumbass would ask such crap.", "Go to hell, you disgusting fat pig.",
    "This damn whore is an ugly bitch.", "Suck my dick, you gay loser.", "You dumb fat ass, what a stupid bitch you are.", "Screw you and your crappy, stupid picture, jerk.",
)  # fmt: skip
PERSONAL = {
    "en": (
        "Write to anna.k.meyer@posteo-mail.org for it.", "Her e-mail address is j.doe77@webmail.co.uk.", "Call +49 30 9018 2217 in the evening.", "Contact: marie_dupont@orange-mail.fr.",
        "The phone number is 415-555-2671.", "Ring (212) 664-7665 to order.", "His IBAN is DE89 3704 0044 0532 0130 00.", "Pay to GB29NWBK60161331926819.", "The card number is 4539 1488 0343 6467.",
        "It shows 5425233430109903, valid until May.", "The server has the address 84.17.52.101.", "Log in from 91.198.174.192 only.", "Her mobile: 07911 123456.",
    ),
    "de": ("Seine Telefonnummer ist 0171 4477821.", "Die Adresse lautet k.schulze@netzpost-mail.de."),
    "zh": ("我的手机号是13812345678。",),
    "ja": ("電話番号は03-5321-1111です。",),
    "ko": ("전화번호는 010-2345-6789입니다.",),
    "fr": ("Son téléphone est le 06 12 34 56 78.",),
    "es": ("Llame al teléfono +34 612 345 678.",),
    "ar": ("رقم هاتفه هو +966 50 123 4567.",),
}  # fmt: skip
NO_PERSONAL = (
    "The sign shows the year 1912-1984.", "It is 10.5.2023, says the calendar.", "The license plate reads KA 19 2284.", "A banner shows the score 112:98.", "The serial number is 4539 1488 0343 6466.",
    "The page mentions the version 1.2.3.4 of a program.", "His IBAN is DE89 3704 0044 0532 0130 01, which is misspelt.", "Write to info@example.com.", "The counter stands at 1,234,567,890.",
    "The router shows 192.168.0.1.", "There are 20 000 000 people in the city.", "The package has the number 00340434161094042557.", "It measures 120 x 80 x 75.5 centimeters.", "Latitude 52.520008 is written on the map.",
)  # fmt: skip
COORDINATES = (
    "It is at [0.12, 0.33, 0.80, 0.91].", "The {t} stands at (120, 245).", "See the region (12.5, 33.1, 80.0, 95.2).", "The box [45, 60, 210, 340] has it.", "Its place is [ 0.5,0.5 ].",
    "The points (0.1, 0.2) and (0.3, 0.4) mark it.", "({t}: [34, 77, 109, 200])",
)  # fmt: skip
NO_COORDINATES = (
    "The jerseys bear the numbers 4, 7, 12 and 23.", "The numbers on the wheel (1, 2, 3) are painted in gold.", "It was built in 1902 (and again in 1951).", "There are 1,200 seats.", "Three of them (two old, one new) are boats.",
    "The house numbers run from 3 to 9 (odd only).", "They wear the shirts [7, 9, 10] of the home team.", "It costs (with tax) 3,50.", "The bingo card shows (3, 17, 22, 41, 60).",
)  # fmt: skip
MENTIONED = ("watermark", "logo")
MENTIONS = (
    "A watermark covers the corner.",
    "There is a Logo on the bag.",
    "Both logos are red.",
    "What does the WATERMARK say?",
)
NO_MENTIONS = (
    "The logotype of the shop is red.",
    "The watermelon lies on the table.",
    "A logger cuts the trunk.",
    "The dialogue is written below.",
)

PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "mentions": {"words": list(MENTIONED)},
    "source_rule": {"deny_sources": ["scraped*"], "deny_licences": ["*nc*"]},
}


def refusal(plot: Plot, count: int) -> None:
    _say(plot, count, "refusal", REFUSALS, NO_REFUSALS, whole=0.5)


def boilerplate(plot: Plot, count: int) -> None:
    for draft in _say(plot, count, "boilerplate", BOILERPLATE, NO_BOILERPLATE):
        draft.may.add("annotation_talk")  # a caption that is spoken of is spoken of


def annotation_talk(plot: Plot, count: int) -> None:
    for draft in _say(plot, count, "annotation_talk", ANNOTATIONS, NO_ANNOTATIONS):
        draft.may.add("boilerplate")
        if "(0.4, 0.6)" in draft.answer:
            draft.labels.add("coordinates")


def toxic(plot: Plot, count: int) -> None:
    for draft in _say(plot, count, "toxic", TOXIC, NO_TOXIC):
        draft.may.add("toxic_by_model")


def toxic_by_model(plot: Plot, count: int) -> None:
    for draft in _say(plot, count, "toxic_by_model", {"en": ABUSE}, NO_TOXIC, whole=1.0):
        draft.may.add("toxic")


def personal_data(plot: Plot, count: int) -> None:
    _say(plot, count, "personal_data", PERSONAL, NO_PERSONAL)


def coordinates(plot: Plot, count: int) -> None:
    _say(plot, count, "coordinates", {"en": COORDINATES}, NO_COORDINATES)


def mentions(plot: Plot, count: int) -> None:
    _say(plot, count, "mentions", {"en": MENTIONS}, NO_MENTIONS)


def source_rule(plot: Plot, count: int) -> None:
    bad = (
        {"source": "scraped/page-{n}.html"}, {"source": "Scraped.json#{n}"}, {"meta": '{{"licence": "CC-BY-NC-4.0"}}'}, {"meta": '{{"license": "cc by-nc-sa", "n": {n}}}'},
    )  # fmt: skip
    good = (
        {"source": None}, {"meta": None}, {"meta": "no json {n}"}, {"source": "photos/scraped.json"}, {"meta": '{{"licence": "CC0", "n": {n}}}'}, {"meta": '{{"licence": null}}'},
    )  # fmt: skip
    for n, draft in enumerate(plot.takes(count + count // 4)):
        for name, value in (bad[n % len(bad)] if n < count else good[n % len(good)]).items():
            setattr(draft, name, value and value.format(n=n))
        _mark(draft, "source_rule" if n < count else "")


def _say(
    plot: Plot,
    count: int,
    filter_: str,
    bad: Mapping[str, Sequence[str]],
    hard: Sequence[str],
    whole: float = 0.25,
) -> list[Draft]:
    """Put a bad sentence into an answer, as all of it or somewhere in it; and sentences that only look so into others."""
    said = [(code, text) for code, texts in bad.items() for text in texts]
    changed = []
    for n in range(count + max(count // 4, len(hard))):
        if n % 500 == 0:
            plot.rewind()
        code, text = said[n % len(said)] if n < count else ("en", hard[n % len(hard)])
        draft = plot.take(
            lambda draft, code=code: draft.language == code and "\n" not in draft.instruction
        )  # type: ignore[misc]
        text = text.format(t=plot.rng.choice(("kettle", "bicycle", "old clock", "blue bench")))
        if n < count and plot.rng.random() < whole:
            draft.answer = text
        else:
            between = "" if code in ("zh", "ja") else " "
            draft.answer = (
                f"{text}{between}{draft.answer}"
                if plot.rng.random() < 0.5
                else f"{draft.answer}{between}{text}"
            )
        _mark(draft, filter_ if n < count else "")
        if n < count:
            changed.append(draft)
    return changed


def _mark(draft: Draft, filter_: str) -> None:
    draft.kind = filter_ or "hard"
    if filter_:
        draft.labels.add(filter_)
