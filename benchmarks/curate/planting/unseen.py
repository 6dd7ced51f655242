"""Sentences that were written after the patterns, and that no pattern was mended to: what a filter finds of them is what it may find of a model's.

Whoever mends a pattern for one of them writes others in its place.
"""

from __future__ import annotations

UNSEEN = {
    "refusal": {
        "en": ("I regret that I cannot look at your picture.", "Sorry, no image came through on my end.", "I am only able to work with text, so the photo is lost on me.", "Unfortunately, I can't identify who this is.", "I'm an AI and can't give an opinion on people.", "Could you please share the picture again?"),
        "de": ("Leider ist es mir nicht möglich, das Foto zu sehen.", "Ich kann auf dem Bild keine Personen identifizieren.", "Tut mir leid, aber dazu kann ich nichts sagen."),
        "fr": ("Je regrette, je ne peux pas analyser cette photo.", "Désolée, je ne suis pas capable de voir les images."),
        "es": ("Perdón, no puedo abrir la imagen.", "Siento no poder ayudarte con esto."),
        "zh": ("非常抱歉，我不能识别照片里的人。", "我不能直接查看您上传的照片。"),
        "ja": ("恐れ入りますが、画像は見られません。", "申し訳ございませんが、その質問にはお答えできません。"),
        "ko": ("유감스럽지만 답변할 수 없습니다.", "죄송합니다만, 사진을 볼 수 없네요."),
        "ar": ("أعتذر، لا أستطيع مساعدتك.", "كنموذج لغوي، لا يمكنني رؤية الصور."),
    },
    "boilerplate": {
        "en": ("From the caption we learn that it is winter.", "As mentioned in the description, she is a doctor.", "The provided captions don't mention any dog.", "Based on the given details, it is a museum."),
        "de": ("Gemäß der Beschreibung ist es Winter.",),
        "fr": ("Selon la description, c'est l'hiver.",),
        "es": ("Según la información dada, es invierno.",),
        "zh": ("根据图片描述，现在是冬天。",),
        "ja": ("説明によると、冬です。",),
        "ko": ("제공된 정보에 의하면 겨울입니다.",),
        "ar": ("وفقًا للوصف، إنه الشتاء.",),
    },
    "annotation_talk": {
        "en": ("As annotated, there are two cups.", "The bbox for the cat is tiny.", "The caption reads that a man is fishing.", "In seconds 4 to 6 nothing happens.", "Its coordinate values lie near the center.", "The detection box cuts off his hat."),
        "de": ("Die Annotation nennt zwei Tassen.", "Die Koordinaten liegen bei 12 und 40."),
        "fr": ("La boîte de délimitation est petite.", "L'annotation parle de deux tasses."),
        "es": ("La caja delimitadora es pequeña.", "La anotación menciona dos tazas."),
        "zh": ("根据标注，有两个杯子。", "视频第5秒时他跳了起来。"),
        "ja": ("アノテーションによると、カップが二つあります。",),
        "ko": ("경계 상자가 작습니다.",),
        "ar": ("تشير الإحداثيات إلى المركز.",),
    },
}  # fmt: skip


def found_of_unseen() -> list[dict[str, object]]:
    import duckdb

    from mimicit.curate.base import Sql
    from mimicit.curate.filters import FILTERS

    rows: list[dict[str, object]] = []
    with duckdb.connect() as connection:
        for name, of in UNSEEN.items():
            made = FILTERS[name].make()
            reason = made.reason if isinstance(made, Sql) else made
            texts = [text for some in of.values() for text in some]
            connection.execute("CREATE OR REPLACE TABLE said (answer VARCHAR)")
            connection.executemany("INSERT INTO said VALUES (?)", [[text] for text in texts])
            [(found,)] = connection.execute(
                f"SELECT count({reason}) FROM (SELECT *, 'What is here?' AS instruction FROM said)"
            ).fetchall()
            rows.append(
                {
                    "filter": name,
                    "on": "unseen sentences",
                    "records": len(texts),
                    "planted": len(texts),
                    "found": found,
                    "right": found,
                    "recall": round(found / len(texts), 4),
                }
            )
    return rows
