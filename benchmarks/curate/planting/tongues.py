"""Good records in seven more languages: parts that fit together whatever is drawn, since all that does something is one and the same gender and number."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Tongue:
    people: tuple[str, ...]
    actions: tuple[str, ...]
    places: tuple[str, ...]
    things: tuple[str, ...]
    colours: tuple[str, ...]
    questions: tuple[str, ...]
    sentences: tuple[str, ...]
    """`{p}` a person, `{a}` what one does, `{l}` a place, `{t}` and `{u}` things, `{c}` a colour, `{n}` a number."""
    between: str = " "


TONGUES = {
    "de": Tongue(
        ("der Gärtner", "der alte Fischer", "der Junge mit der Mütze", "der Briefträger", "der Koch", "ein Radfahrer", "der Maler", "ein Schüler", "der Bäcker", "ein Tourist", "der Mann im Mantel", "der Großvater"),
        ("liest eine Zeitung", "schält einen Apfel", "wartet auf die Straßenbahn", "füttert die Tauben", "trägt zwei Kisten", "kehrt die Stufen", "zeigt auf den Himmel", "gießt die Tomaten", "repariert ein Netz", "spielt Akkordeon", "schreibt eine Postkarte", "trinkt einen Kaffee", "schiebt eine Schubkarre", "streicht eine Tür"),
        ("neben dem Brunnen", "vor der Bäckerei", "auf dem Steg", "unter einem Kastanienbaum", "am Rand des Feldes", "in der engen Gasse", "auf dem Bahnsteig", "hinter dem Marktstand", "am Fenster", "im Gewächshaus", "auf der Brücke", "am Fuß der Treppe", "in der Werkstatt"),
        ("eine rote Laterne", "ein altes Fahrrad", "eine Leiter", "ein Korb mit Äpfeln", "eine Gitarre", "ein leerer Koffer", "eine Uhr", "ein Regenschirm", "ein Spiegel", "eine Trommel", "ein Stapel Teller", "ein Schaukelpferd", "ein Zelt"),
        ("rot", "dunkelgrün", "hellblau", "gelb", "weiß", "schwarz", "braun", "orange", "grau"),
        ("Was macht {p} {l}?", "Was ist {l} zu sehen?", "Warum steht {t} {l}?", "Welche Farbe hat das, was {p} {l} in der Hand hält?", "Was geschieht, während {p} {l} steht?", "Beschreibe genau, was sich {l} befindet.", "Wie viele Dinge liegen {l}, und wem gehören sie?"),
        ("{P} {a}, und daneben steht {t}.", "{L} sieht man {t}; sie wirkt {c} im Licht.", "Hier ist {p}, und gleich {l} liegt {t}.", "Es sind {n} Vögel zu sehen, während {p} weiter hinten ruht.", "Man erkennt auch {t} und {u}, beide {c}.", "Wahrscheinlich ist es Nachmittag, denn das Licht {l} ist weich.", "Vor allem fällt auf, dass {l} alles {c} ist.", "Nicht weit davon steht {u}, das {p} wohl vergessen hat."),
    ),
    "fr": Tongue(
        ("le jardinier", "le vieux pêcheur", "le garçon au chapeau", "le facteur", "le cuisinier", "un cycliste", "le peintre", "un élève", "le boulanger", "un touriste", "l'homme au manteau", "le grand-père"),
        ("lit un journal", "épluche une pomme", "attend le tramway", "nourrit les pigeons", "porte deux caisses", "balaie les marches", "montre le ciel", "arrose les tomates", "répare un filet", "joue de l'accordéon", "écrit une carte postale", "boit un café", "pousse une brouette", "peint une porte"),
        ("à côté de la fontaine", "devant la boulangerie", "sur la jetée", "sous un châtaignier", "au bord du champ", "dans la ruelle", "sur le quai", "derrière l'étal du marché", "près de la fenêtre", "dans la serre", "sur le pont", "au pied de l'escalier", "dans l'atelier"),
        ("une lanterne rouge", "un vieux vélo", "une échelle", "un panier de pommes", "une guitare", "une valise vide", "une horloge", "un parapluie", "un miroir", "un tambour", "une pile d'assiettes", "un cheval à bascule", "une tente"),
        ("rouge", "vert foncé", "bleu clair", "jaune", "blanc", "noir", "brun", "orange", "gris"),
        ("Que fait {p} {l} ?", "Que voit-on {l} ?", "Pourquoi y a-t-il {t} {l} ?", "De quelle couleur est ce que {p} tient {l} ?", "Que se passe-t-il pendant que {p} reste {l} ?", "Décris en détail ce qui se trouve {l}.", "Combien d'objets sont posés {l}, et à qui sont-ils ?"),
        ("{P} {a}, et tout près il y a {t}.", "{L}, on voit {t}, d'un ton {c}.", "Voici {p}, et juste {l} se trouve {t}.", "On compte {n} oiseaux pendant que {p} se repose plus loin.", "On reconnaît aussi {t} et {u}, tous les deux d'un beau {c}.", "C'est sans doute l'après-midi, car la lumière {l} est douce.", "Ce qui frappe surtout, c'est que tout est {c} {l}.", "Non loin de là, il y a {u} que {p} a sûrement oublié."),
    ),
    "es": Tongue(
        ("el jardinero", "el viejo pescador", "el niño del sombrero", "el cartero", "el cocinero", "un ciclista", "el pintor", "un alumno", "el panadero", "un turista", "el hombre del abrigo", "el abuelo"),
        ("lee un periódico", "pela una manzana", "espera el tranvía", "da de comer a las palomas", "lleva dos cajas", "barre los escalones", "señala el cielo", "riega los tomates", "arregla una red", "toca el acordeón", "escribe una postal", "bebe un café", "empuja una carretilla", "pinta una puerta"),
        ("junto a la fuente", "delante de la panadería", "en el muelle", "bajo un castaño", "al borde del campo", "en el callejón", "en el andén", "detrás del puesto", "cerca de la ventana", "en el invernadero", "sobre el puente", "al pie de la escalera", "en el taller"),
        ("un farol rojo", "una bicicleta vieja", "una escalera de mano", "una cesta de manzanas", "una guitarra", "una maleta vacía", "un reloj", "un paraguas", "un espejo", "un tambor", "una pila de platos", "un caballito de madera", "una tienda de campaña"),
        ("rojo", "verde oscuro", "azul claro", "amarillo", "blanco", "negro", "marrón", "naranja", "gris"),
        ("¿Qué hace {p} {l}?", "¿Qué se ve {l}?", "¿Por qué hay {t} {l}?", "¿De qué color es lo que sostiene {p} {l}?", "¿Qué pasa mientras {p} está {l}?", "Describe con detalle lo que hay {l}.", "¿Cuántas cosas hay {l} y de quién son?"),
        ("{P} {a}, y al lado hay {t}.", "{L} se ve {t} de tono {c}.", "Aquí está {p}, y justo {l} se encuentra {t}.", "Se cuentan {n} pájaros mientras {p} descansa más lejos.", "También se reconocen {t} y {u}, ambos de color {c}.", "Seguramente es por la tarde, pues la luz {l} es suave.", "Lo que más llama la atención es que todo es {c} {l}.", "No lejos de allí hay {u} que {p} habrá olvidado."),
    ),
    "zh": Tongue(
        ("园丁", "老渔夫", "戴帽子的男孩", "邮递员", "厨师", "骑车的人", "画家", "小学生", "面包师", "游客", "穿大衣的男人", "老爷爷"),
        ("正在看报纸", "在削苹果", "在等电车", "在喂鸽子", "搬着两个箱子", "在扫台阶", "指着天空", "在给西红柿浇水", "在修补渔网", "在拉手风琴", "在写明信片", "端着一杯咖啡", "推着小车", "在刷门"),
        ("喷泉旁边", "面包店门前", "木码头上", "栗子树下", "麦田边上", "狭窄的小巷里", "火车站台上", "市场摊位后面", "窗户附近", "温室里", "石桥上", "楼梯口", "工作间里"),
        ("一盏红灯笼", "一辆旧自行车", "一架梯子", "一篮苹果", "一把吉他", "一只空箱子", "一座钟", "一把雨伞", "一面镜子", "一面鼓", "一摞盘子", "一匹木马", "一顶帐篷"),
        ("红色", "深绿色", "浅蓝色", "黄色", "白色", "黑色", "棕色", "橙色", "灰色"),
        ("{p}{l}做什么？", "{l}能看到什么？", "为什么{l}有{t}？", "{p}{l}拿着的东西是什么颜色？", "{p}站着的时候，{l}发生了什么？", "请详细描述{l}的情景。", "{l}有几样东西，是谁的？"),
        ("{p}{a}，旁边有{t}。", "{l}放着{t}，看上去是{c}的。", "这里有{p}，{l}还有{t}。", "远处{p}休息的时候，有{n}只鸟飞过。", "还可以看到{t}和{u}，都是{c}的。", "大概是下午，因为{l}的光线很柔和。", "最引人注目的是{l}的一切都是{c}。", "不远处有{u}，可能是{p}忘记拿走的。"),
        between="",
    ),
    "ja": Tongue(
        ("庭師", "年老いた漁師", "帽子をかぶった少年", "郵便配達員", "料理人", "自転車に乗る人", "画家", "小学生", "パン屋さん", "観光客", "コートを着た男性", "おじいさん"),
        ("新聞を読んでいます", "りんごの皮をむいています", "電車を待っています", "ハトにえさをやっています", "箱を二つ運んでいます", "階段を掃いています", "空を指さしています", "トマトに水をやっています", "網を直しています", "アコーディオンを弾いています", "はがきを書いています", "コーヒーを飲んでいます", "手押し車を押しています", "ドアを塗っています"),
        ("噴水のそば", "パン屋の前", "木の桟橋の上", "栗の木の下", "麦畑の端", "狭い路地", "駅のホーム", "市場の屋台の裏", "窓の近く", "温室の中", "石橋の上", "階段の下", "作業場"),
        ("赤いちょうちん", "古い自転車", "はしご", "りんごのかご", "ギター", "空のかばん", "時計", "傘", "鏡", "太鼓", "重ねた皿", "木馬", "テント"),
        ("赤", "深緑", "水色", "黄色", "白", "黒", "茶色", "オレンジ色", "灰色"),
        ("{p}は{l}で何をしていますか？", "{l}には何が見えますか？", "なぜ{l}に{t}があるのですか？", "{p}が{l}で持っている物は何色ですか？", "{p}がいる間、{l}では何が起きていますか？", "{l}の様子を詳しく説明してください。", "{l}には物がいくつあり、誰の物ですか？"),
        ("{p}が{a}。そばに{t}があります。", "{l}に{t}が置いてあり、{c}に見えます。", "ここに{p}がいて、{l}には{t}もあります。", "{p}が遠くで休む間に、鳥が{n}羽飛んでいます。", "{t}と{u}も見え、どちらも{c}です。", "{l}の光がやわらかいので、おそらく午後でしょう。", "{l}のすべてが{c}なのが目立ちます。", "近くに{u}があり、{p}が忘れた物かもしれません。"),
        between="",
    ),
    "ko": Tongue(
        ("정원사", "늙은 어부", "모자를 쓴 소년", "우체부", "요리사", "자전거 타는 사람", "화가", "초등학생", "제빵사", "관광객", "외투를 입은 남자", "할아버지"),
        ("신문을 읽고 있습니다", "사과를 깎고 있습니다", "전차를 기다리고 있습니다", "비둘기에게 먹이를 줍니다", "상자 두 개를 나릅니다", "계단을 쓸고 있습니다", "하늘을 가리킵니다", "토마토에 물을 줍니다", "그물을 고치고 있습니다", "아코디언을 연주합니다", "엽서를 쓰고 있습니다", "커피를 마십니다", "손수레를 밀고 있습니다", "문을 칠하고 있습니다"),
        ("분수 옆", "빵집 앞", "나무 부두 위", "밤나무 아래", "밀밭 가장자리", "좁은 골목", "기차역 승강장", "시장 가판대 뒤", "창문 근처", "온실 안", "돌다리 위", "계단 아래", "작업실"),
        ("빨간 등불", "낡은 자전거", "사다리", "사과 바구니", "기타", "빈 가방", "시계", "우산", "거울", "북", "접시 더미", "목마", "천막"),
        ("빨간색", "짙은 녹색", "하늘색", "노란색", "흰색", "검은색", "갈색", "주황색", "회색"),
        ("{p} 한 명은 {l}에서 무엇을 하나요?", "{l}에는 무엇이 보이나요?", "왜 {l}에 {t} 하나가 있나요?", "{l}에 있는 {p}의 물건은 무슨 색인가요?", "{p}의 뒤쪽 {l}에서는 무슨 일이 일어나나요?", "{l}의 모습을 자세히 설명해 주세요.", "{l}에는 물건이 몇 개 있고 누구의 것인가요?"),
        ("{p} 한 명이 {a}. 그 옆에 {t} 하나가 있습니다.", "{l}에 {t} 하나가 놓여 있고 {c}으로 보입니다.", "여기에 {p} 한 명이 있고, {l}에는 {t}도 있습니다.", "{p} 한 명이 멀리서 쉬는 동안 새 {n}마리가 날아갑니다.", "{t}와 함께 {u}도 보이며 둘 다 {c}입니다.", "{l}의 빛이 부드러우니 아마 오후일 것입니다.", "{l}의 모든 것이 {c}인 점이 눈에 띕니다.", "가까이에 {u} 하나가 있는데 {p}의 물건일 수도 있습니다."),
    ),
    "ar": Tongue(
        ("البستاني", "الصياد العجوز", "الولد ذو القبعة", "ساعي البريد", "الطباخ", "راكب الدراجة", "الرسام", "التلميذ", "الخباز", "السائح", "الرجل ذو المعطف", "الجد"),
        ("يقرأ جريدة", "يقشر تفاحة", "ينتظر الترام", "يطعم الحمام", "يحمل صندوقين", "يكنس الدرج", "يشير إلى السماء", "يسقي الطماطم", "يصلح شبكة", "يعزف على الأكورديون", "يكتب بطاقة بريدية", "يشرب القهوة", "يدفع عربة صغيرة", "يدهن الباب"),
        ("بجانب النافورة", "أمام المخبز", "على الرصيف الخشبي", "تحت شجرة الكستناء", "عند طرف الحقل", "في الزقاق الضيق", "على رصيف المحطة", "خلف كشك السوق", "قرب النافذة", "في البيت الزجاجي", "فوق الجسر", "عند أسفل السلم", "في الورشة"),
        ("فانوس أحمر", "دراجة قديمة", "سلم خشبي", "سلة تفاح", "غيتار", "حقيبة فارغة", "ساعة كبيرة", "مظلة", "مرآة", "طبل", "كومة أطباق", "حصان خشبي", "خيمة"),
        ("أحمر", "أخضر داكن", "أزرق فاتح", "أصفر", "أبيض", "أسود", "بني", "برتقالي", "رمادي"),
        ("ماذا يفعل {p} {l}؟", "ماذا نرى {l}؟", "لماذا يوجد {t} {l}؟", "ما لون الشيء الذي يمسكه {p} {l}؟", "ماذا يحدث بينما يقف {p} {l}؟", "صف بالتفصيل ما يوجد {l}.", "كم شيئا يوجد {l} ولمن هي؟"),
        ("{p} {a}، وبالقرب منه {t}.", "{l} يظهر {t} بلون {c}.", "هنا {p}، وتماما {l} يوجد {t}.", "نعد {n} طيور بينما يستريح {p} بعيدا.", "نلاحظ أيضا {t} و{u} بلون {c}.", "ربما هو وقت العصر لأن الضوء {l} ناعم.", "أكثر ما يلفت النظر أن كل شيء {l} لونه {c}.", "ليس بعيدا يوجد {u} ربما نسيه {p}."),
    ),
}  # fmt: skip


def pair(language: str, rng: random.Random) -> tuple[str, str]:
    """Draw a question and an answer."""
    tongue = TONGUES[language]
    question = filled(rng.choice(tongue.questions), tongue, rng)
    count = rng.choices((1, 2, 3, 4), (3, 4, 2, 1))[0]
    said = rng.sample(
        tongue.sentences, count
    )  # each pattern once: the same again would be a repetition
    return question, tongue.between.join(filled(one, tongue, rng) for one in said)


def sentence(language: str, rng: random.Random) -> str:
    tongue = TONGUES[language]
    return filled(rng.choice(tongue.sentences), tongue, rng)


def filled(pattern: str, tongue: Tongue, rng: random.Random) -> str:
    person, place = rng.choice(tongue.people), rng.choice(tongue.places)
    one, other = rng.sample(tongue.things, 2)
    values = {
        "p": person, "P": person[0].upper() + person[1:], "a": rng.choice(tongue.actions), "l": place,
        "L": place[0].upper() + place[1:], "t": one, "u": other, "c": rng.choice(tongue.colours), "n": str(rng.randint(3, 12)),
    }  # fmt: skip
    return pattern.format(**values)
