"""Twenty small records with their translations into seven languages, and a translator that knows nothing else."""

from __future__ import annotations

import json
import re

from tests.builders import record

LANGUAGES = ("zh", "ja", "es", "de", "fr", "ko", "ar")
NBSP = "\u00a0"
RLM = "\u200f"  # a mark of writing direction, which must survive

QUESTIONS = {
    "What is happening in <image>?": {
        "zh": "<image> 里发生了什么？",
        "ja": "<image> では何が起きていますか？",
        "es": "¿Qué está pasando en <image>?",
        "de": "Was passiert in <image>?",
        "fr": "Que se passe-t-il dans <image> ?",
        "ko": "<image>에서 무슨 일이 일어나고 있나요?",
        "ar": "ماذا يحدث في <image>؟",
    },
    "What can you see in front of the station?": {
        "zh": "车站前面能看到什么？",
        "ja": "駅の前には何が見えますか？",
        "es": "¿Qué se ve delante de la estación?",
        "de": "Was ist vor dem Bahnhof zu sehen?",
        "fr": "Que voit-on devant la gare ?",
        "ko": "역 앞에 무엇이 보이나요?",
        "ar": "ماذا ترى أمام المحطة؟",
    },
    "Who are the people at the table?": {
        "zh": "桌子旁边的人是谁？",
        "ja": "テーブルにいる人たちは誰ですか？",
        "es": "¿Quiénes son las personas que están a la mesa?",
        "de": "Wer sind die Leute am Tisch?",
        "fr": "Qui sont les personnes à table ?",
        "ko": "테이블에 있는 사람들은 누구인가요?",
        "ar": "من هم الأشخاص الجالسون إلى الطاولة؟",
    },
    "Why is the street so empty?": {
        "zh": "街上为什么这么冷清？",
        "ja": "なぜ通りにはこんなに人がいないのですか？",
        "es": "¿Por qué está tan vacía la calle?",
        "de": "Warum ist die Straße so leer?",
        "fr": "Pourquoi la rue est-elle si vide ?",
        "ko": "거리가 왜 이렇게 텅 비어 있나요?",
        "ar": "لماذا الشارع خالٍ إلى هذا الحد؟",
    },
}
ANSWERS = {
    "About 12 people are waiting for the bus.": {
        "zh": "大约有 12 个人在等公交车。",
        "ja": "12人ほどがバスを待っています。",
        "es": "Unas 12 personas están esperando el autobús.",
        "de": "Etwa 12 Leute warten auf den Bus.",
        "fr": "Environ 12 personnes attendent le bus.",
        "ko": "12명 정도가 버스를 기다리고 있어요.",
        "ar": "هناك نحو ١٢ شخصًا ينتظرون الحافلة.",
    },
    "An old man is selling flowers.\nA girl is choosing a red rose.": {
        "zh": "一位老人在卖花。\n一个女孩正在挑一朵红玫瑰。",
        "ja": "年配の男性が花を売っています。\n女の子が赤いバラを選んでいます。",
        "es": "Un anciano vende flores.\nUna niña elige una rosa roja.",
        "de": "Ein alter Mann verkauft Blumen.\nEin Mädchen sucht sich eine rote Rose aus.",
        "fr": "Un vieil homme vend des fleurs.\nUne fillette choisit une rose rouge.",
        "ko": "할아버지가 꽃을 팔고 있어요.\n여자아이가 빨간 장미를 고르고 있어요.",
        "ar": "رجل مسن يبيع الزهور.\nوفتاة تختار وردة حمراء.",
    },
    "She is taking a photo of the A380 with her iPhone.": {
        "zh": "她正在用 iPhone 拍 A380 的照片。",
        "ja": "彼女は iPhone で A380 の写真を撮っています。",
        "es": "Está haciendo una foto del A380 con su iPhone.",
        "de": "Sie macht mit ihrem iPhone ein Foto vom A380.",
        "fr": "Elle prend l’A380 en photo avec son iPhone.",
        "ko": "그녀는 iPhone으로 A380 사진을 찍고 있어요.",
        "ar": f"إنها تلتقط صورة لطائرة A380 بهاتفها iPhone{RLM}.",
    },
    "The ticket costs 1,250 euros.": {
        "zh": "票价是 1250 欧元。",
        "ja": "チケットは1,250ユーロです。",
        "es": "La entrada cuesta 1.250 euros.",
        "de": "Das Ticket kostet 1.250 Euro.",
        "fr": f"Le billet coûte 1{NBSP}250 euros.",
        "ko": "표 가격은 1,250유로예요.",
        "ar": "سعر التذكرة ١٬٢٥٠ يورو.",
    },
    "Two dogs are sleeping in the shade.": {
        "zh": "两只狗在树荫下睡觉。",
        "ja": "2匹の犬が日陰で眠っています。",
        "es": "Dos perros duermen a la sombra.",
        "de": "Zwei Hunde schlafen im Schatten.",
        "fr": "Deux chiens dorment à l’ombre.",
        "ko": "개 두 마리가 그늘에서 자고 있어요.",
        "ar": "كلبان ينامان في الظل.",
    },
}


def records():
    """Return every question with every answer."""
    texts = [(question, answer) for question in QUESTIONS for answer in ANSWERS]
    return [
        record(
            n, instruction=question, answer=answer, image_ids=(f"LA_IMG_{n}",), source="notes.json#1",
            rel_ins_ids=("LACONV_INS_000_00",) if n else (),
        )
        for n, (question, answer) in enumerate(texts)
    ]  # fmt: skip


class Asked:
    """What a query asks for, read as a model would."""

    def __init__(self, query: str) -> None:
        head, *shown = re.split(r"^Record \d+\n", query, flags=re.MULTILINE)
        self.languages = re.findall(r"^- (\S+):", head, re.MULTILINE)
        self.notes = re.findall(r"^- record (\d+), (\S+): (.*)$", shown[-1], re.MULTILINE)
        shown[-1] = shown[-1].partition("\nThese were translated before")[0]
        self.records = [
            tuple(re.fullmatch(r"Question: (.*?)\nAnswer: (.*)", text.strip(), re.DOTALL).groups())
            for text in shown
        ]

    @property
    def cells(self):
        return [(*pair, language) for pair in self.records for language in self.languages]

    def translations(self):
        """Return the right reply, as a list."""
        return [
            {
                "number": number,
                "language": language,
                "question": QUESTIONS[question][language],
                "answer": ANSWERS[answer][language],
            }
            for number, (question, answer) in enumerate(self.records, start=1)
            for language in self.languages
        ]


def written(translations) -> str:
    return json.dumps({"translations": translations}, ensure_ascii=False)
