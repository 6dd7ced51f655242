"""Words that replies write before a colon, in the languages that our models answer in.

Each is a part of a regular expression, matched without regard to case; a form puts together those that it reads.
"""

from __future__ import annotations

QUESTION = (
    r"(?:follow[- ]?up\ )?questions?|q|query"
    r"|preguntas?|frage|fragen|domanda|pergunta|вопрос"
    r"|问题|問題|提问|提問|问|問|質問|問い|질문"
    r"|(?:ال)?سؤال"
)
ANSWER_WORD = (
    r"answers?|response|(?:the\ )?(?:correct|right)[\ _]?(?:answer|option|choice)(?:\ is)?"
    r"|respuestas?|réponses?|reponses?|antwort|antworten|risposta|resposta|ответ"
    r"|正确答案|正確答案|答案|回答|解答|答え|答|답변|대답|정답|답"
    r"|(?:ال)?جواب|(?:ال)?[إا]جابة"
)
ANSWER = f"a|{ANSWER_WORD}"
ASKER = r"human|user|person|usuario|utilisateur|benutzer|用户|用戶|人类|人類|ユーザー|사용자|(?:ال)?مستخدم"
ANSWERER = (
    r"assistant|ai|ai\ assistant|bot|asistente|助手|助理|アシスタント|어시스턴트|(?:ال)?مساعد"
)

# Letters that are labels only where a reply has no others: Pregunta, Frage, Respuesta, Réponse, سؤال, جواب.
RARE_QUESTION = r"[pfس]"
RARE_ANSWER = r"[rج]"

OPTION = (
    r"options?|choices?|opci[oó]n(?:es)?|alternativas?|antwortmöglichkeit|auswahl"
    r"|选项|選項|選択肢|선택지|보기|(?:ال)?خيار"
)
NOTE = r"explanation|rationale|reason|解释|解析|説明|설명|شرح|explicación|explication|erklärung"

CONVERSATION = r"conversations?|dialogues?|dialogs?|conversación|diálogo|gespräch|对话|對話|会話|会话|대화|(?:ال)?محادثة"
TOPIC = (
    r"(?:chosen\ )?(?:activity|topic)|tema|sujet|thema|主题|主題|话题|活动|活動|주제|(?:ال)?موضوع"
)
ROLE = r"(?:(?:human|user|person)(?:'s|’s)?[ _-])?role|rol|rôle|rolle|角色|役割|역할|(?:ال)?دور"
REASON = (
    r"(?:the\ )?(?:reasons?|rationale|why)|razón|raison|grund|begründung|原因|理由|이유|(?:ال)?سبب"
)

# A line with one of these, a number and nothing else stands between pairs and says nothing.
BETWEEN = (
    r"(?:q\ ?(?:&|and)\ ?a\ |qa\ |question[- ]answer\ )?pairs?|q\ ?&\ ?a|qa|rounds?|turns?|examples?"
    r"|ronda|tour|runde|轮次|轮|回合|ラウンド|라운드|جولة"
)

# "CH2Eng Translation", "Expansion_with_Eng_1", "English paraphrase 2"
TEXT = (
    r"(?:[\w-]{1,20}[\ _-]){0,3}?"
    r"(?:translations?|expansions?|paraphrases?|rephrasings?|rewordings?|synonyms?|sentences?|versions?|variants?"
    r"|variations?|alternatives?|texts?|renderings?|traducci[oó]n|traduction|übersetzung|paráfrasis)"
    r"(?:[\ _-](?:with|in|to|into)[\ _-][a-z]{1,12})?"
    r"|(?:英文|中文|英语|英語)?(?:翻译|翻譯|译文|譯文|改写|改寫|扩写|扩展|擴展|同义句|释义|翻訳|訳文|言い換え|번역|의역)"
    r"|(?:ال)?ترجمة|إعادة\ صياغة"
)
