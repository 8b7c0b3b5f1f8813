"""Small words that decide what a sentence states: quantity, obligation, time and degree, by language.

*All* and *some*, *must* and *may*, *yesterday* and *tomorrow*, *more* and *less* hardly move a vector, and change what is
true. The lists are of closed classes: a few words a language, in the forms that are common. They are compared between
languages only: within one language all words must agree (:mod:`mlret.memory.guards`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import regex

# Class -> its members; a text states the members of a class that it names.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "quantity": ("all", "some", "most", "few", "only"),
    "modality": ("must", "may", "should"),
    "time words": ("yesterday", "today", "tomorrow", "before", "after", "ended"),
    "degree": ("more", "less"),
}
# Language -> member -> words. A star stands for any ending, an underscore for a blank. In languages that are written
# without spaces, and in Korean, they are looked for anywhere in the text. A word with a parenthesis is a pattern.
_WORDS: dict[str, dict[str, str]] = {
    "ar": {
        "all": "كل جميع دائما دائماً كلا كافة",
        "some": "بعض أحيانا أحياناً عدة",
        "most": "معظم أغلب غالبية",
        "few": "قليل قليلة قليلون نادرا نادراً",
        "only": "فقط وحده وحدها",
        "must": "يجب يتعين وجب عليه ينبغي مضطر",
        "may": "قد ربما يمكن يستطيع تستطيع أستطيع",
        "should": "",
        "yesterday": "أمس البارحة بالأمس",
        "today": "اليوم",
        "tomorrow": "غدا غداً",
        "before": "قبل",
        "after": "بعد",
        "ended": "لم_يعد لم_تعد لم_أعد سابقا سابقاً",
        "more": "أكثر",
        "less": "أقل",
    },
    "cs": {
        "all": "všech* všich* všem* každ* vždy vždycky oba obě",
        "some": "někteř* některé někdy několik nějak*",
        "most": "většin*",
        "few": "málo zřídka",
        "only": "jen jenom pouze",
        "must": "mus*",
        "may": "může* můžu mohu mohou mohl* snad možná smí",
        "should": "měl_by měla_by",
        "yesterday": "včera*",
        "today": "dnes dneska dnešní*",
        "tomorrow": "zítra zítřej*",
        "before": "před předtím",
        "after": "po poté potom",
        "ended": "už_ne již_ne dříve kdysi",
        "more": "více víc",
        "less": "méně míň",
    },
    "da": {
        "all": "alle alt altid hver hvert begge",
        "some": "nogle nogen noget undertiden somme flere",
        "most": "fleste",
        "few": "få sjældent",
        "only": "kun bare udelukkende",
        "must": "må skal nødt",
        "may": "kan måske kunne",
        "should": "bør burde",
        "yesterday": "går",
        "today": "dag",
        "tomorrow": "morgen",
        "before": "før",
        "after": "efter",
        "ended": "længere plejede tidligere",
        "more": "mere",
        "less": "mindre",
    },
    "de": {
        "all": "alle* alles immer jede* stets beide* sämtliche*",
        "some": "einige* manche* manchmal mehrere*",
        "most": "meiste* meistens",
        "few": "wenige wenigen selten",
        "only": "nur bloß lediglich ausschließlich",
        "must": "muss müssen musst müsst musste* müsste*",
        "may": "darf dürfen dürfte* kann können könnte* konnte* vielleicht möglicherweise mag möglich",
        "should": "soll sollen sollte* sollst",
        "yesterday": "gestern gestrig*",
        "today": "heute heutig* heutzutage",
        "tomorrow": "(?<!jeden\\s)(?<!am\\s)(?<!diesen\\s)(?<!guten\\s)(?<!heute\\s)(?<!gestern\\s)morgen morgig*",
        "before": "vor bevor vorher",
        "after": "nach nachdem danach",
        "ended": "nicht_mehr kein*_mehr früher ehemal*",
        "more": "mehr",
        "less": "weniger",
    },
    "en": {
        "all": "all every everyone everybody everything each always both everywhere",
        "some": "some several sometimes someone something somebody",
        "most": "most mostly usually",
        "few": "few seldom rarely hardly",
        "only": "only solely merely",
        "must": "must have_to has_to had_to need_to needs_to",
        "may": "may might maybe perhaps possibly can cannot could possible",
        "should": "should ought",
        "yesterday": "yesterday yesterday's",
        "today": "today today's nowadays",
        "tomorrow": "tomorrow tomorrow's",
        "before": "before prior ago",
        "after": "after afterwards",
        "ended": "no_longer any_more anymore used_to formerly former previously",
        "more": "more",
        "less": "less fewer",
    },
    "es": {
        "all": "todo todos toda todas siempre cada ambos ambas",
        "some": "algunos algunas algún alguna algo alguien varios varias veces",
        "most": "mayoría mayor_parte",
        "few": "pocos pocas poco raramente rara_vez",
        "only": "solo sólo solamente únicamente",
        "must": "debe deben debo debemos debía hay_que tiene_que tienen_que tengo_que tenemos_que tuvo_que",
        "may": "puede pueden puedo podemos podría podrían pudo quizás quizá talvez posible posiblemente",
        "should": "debería deberían",
        "yesterday": "ayer",
        "today": "hoy",
        "tomorrow": "mañana",
        "before": "antes hace previamente",
        "after": "después tras luego",
        "ended": "ya_no solía antiguo antigua ex anteriormente",
        "more": "más",
        "less": "menos",
    },
    "fi": {
        "all": "kaikki kaikkien kaikkia aina joka jokainen molemmat",
        "some": "jotkut joitakin joskus jotkin muutama*",
        "most": "useimmat suurin_osa enimmäkseen",
        "few": "harva* vähän harvoin",
        "only": "vain ainoastaan pelkästään",
        "must": "täytyy pitää on_pakko piti",
        "may": "voi voivat voin voisi* ehkä saattaa mahdollisesti",
        "should": "pitäisi",
        "yesterday": "eilen eilinen eilis*",
        "today": "tänään",
        "tomorrow": "huomenna huomis*",
        "before": "ennen sitten aiemmin",
        "after": "jälkeen",
        "ended": "enää entinen entis*",
        "more": "enemmän",
        "less": "vähemmän",
    },
    "fr": {
        "all": "tout toute tous toutes chaque chacun chacune toujours deux_les",
        "some": "quelques certains certaines parfois plusieurs quelque quelqu'un",
        "most": "plupart majorité",
        "few": "peu rarement",
        "only": "seulement uniquement seul seule seuls seules",
        "must": "doit doivent dois devons devez devait faut fallait",
        "may": "peut peuvent peux pouvons pouvez pourrait pourraient pouvait peut-être possible possiblement",
        "should": "devrait devraient",
        "yesterday": "hier",
        "today": "aujourd'hui",
        "tomorrow": "demain",
        "before": "avant auparavant il_y_a",
        "after": "après ensuite",
        "ended": "ne_plus ancien ancienne autrefois",
        "more": "plus davantage",
        "less": "moins",
    },
    "he": {
        "all": "כל הכל כולם תמיד שני_ה",
        "some": "כמה חלק לפעמים אחדים",
        "most": "רוב מרבית",
        "few": "מעט מעטים לעתים_רחוקות",
        "only": "רק בלבד",
        "must": "חייב חייבת חייבים צריך צריכה צריכים",
        "may": "יכול יכולה יכולים אולי ייתכן עשוי עשויה עשויים עלול אפשר מותר",
        "should": "כדאי",
        "yesterday": "אתמול",
        "today": "היום כיום",
        "tomorrow": "מחר",
        "before": "לפני",
        "after": "אחרי לאחר",
        "ended": "כבר_לא לשעבר",
        "more": "יותר",
        "less": "פחות",
    },
    "hi": {
        "all": "सब सभी हर हमेशा प्रत्येक दोनों सारे पूरे सबको",
        "some": "कुछ कई कभी-कभी",
        "most": "अधिकांश ज़्यादातर ज्यादातर",
        "few": "थोड़े शायद_ही",
        "only": "केवल सिर्फ़ सिर्फ बस मात्र",
        "must": "ज़रूरी जरूरी ज़रूरत जरूरत पड़ेगा पड़ता पड़ा अवश्य",
        "may": "शायद सकता सकती सकते सके संभव",
        "should": "चाहिए",
        "yesterday": "",
        "today": "आज",
        "tomorrow": "",
        "before": "पहले पूर्व",
        "after": "बाद",
        "ended": "अब_नहीं",
        "more": "अधिक ज़्यादा ज्यादा",
        "less": "कम",
    },
    "id": {
        "all": "semua setiap selalu seluruh tiap kedua",
        "some": "beberapa sebagian kadang-kadang terkadang",
        "most": "kebanyakan sebagian_besar",
        "few": "sedikit jarang",
        "only": "hanya cuma saja",
        "must": "harus wajib perlu",
        "may": "mungkin bisa dapat boleh",
        "should": "sebaiknya seharusnya",
        "yesterday": "kemarin",
        "today": "hari_ini",
        "tomorrow": "besok",
        "before": "sebelum lalu sebelumnya",
        "after": "setelah sesudah",
        "ended": "tidak_lagi mantan dulu",
        "more": "lebih",
        "less": "kurang",
    },
    "it": {
        "all": "tutto tutti tutta tutte sempre ogni ognuno entrambi entrambe",
        "some": "alcuni alcune qualche volte qualcuno qualcosa diversi diverse",
        "most": "maggior_parte maggioranza",
        "few": "pochi poche poco raramente",
        "only": "solo soltanto solamente unicamente",
        "must": "deve devono devo dobbiamo bisogna doveva",
        "may": "può possono posso possiamo potrebbe potrebbero poteva forse magari possibile",
        "should": "dovrebbe dovrebbero",
        "yesterday": "ieri",
        "today": "oggi",
        "tomorrow": "domani",
        "before": "prima fa precedentemente",
        "after": "dopo poi",
        "ended": "non_più ex",
        "more": "più",
        "less": "meno",
    },
    "ja": {
        "all": "すべて 全て 全員 みんな 皆 いつも 常に 毎 両方 あらゆる 全部",
        "some": "いくつか 一部 時々 ときどき 何人か 数人",
        "most": "ほとんど 大半 たいてい 大部分",
        "few": "少し めったに わずか",
        "only": "だけ のみ しか(?!し) ばかり",
        "must": "なければな なくてはな 必要 義務 ねばな べからず",
        "may": "かもしれ てもよい てもいい 可能性 でき おそらく たぶん (?<=[られえけせてねべめれげ])るかも",
        "should": "べき",
        "yesterday": "昨日 きのう",
        "today": "今日 本日",
        "tomorrow": "明日 あした",
        "before": "前(?![者半提]) 以前",
        "after": "後(?![者半]) 以降 てから",
        "ended": "もう[^。]*ない もはや 元(?=[大首選社])",
        "more": "もっと より(?![、]) さらに 以上",
        "less": "より少な 以下 未満",
    },
    "ko": {
        "all": "모든 모두 항상 언제나 매(?=[일주달년번]) 전부 각 다(?=\\s) 늘(?=\\s)",
        "some": "일부 몇몇 가끔 때때로 어떤 여러",
        "most": "대부분 대개 대다수",
        "few": "거의 드물게",
        "only": "만(?=[\\s.]) 오직 뿐 단지 만이 만을",
        "must": "야\\s?(?:한|합|해|했|할|하) 필요 의무 반드시",
        "may": "수\\s?(?:있|도|없) 아마 지도\\s?모 가능 어도\\s?된 어도\\s?돼",
        "should": "",
        "yesterday": "어제",
        "today": "오늘",
        "tomorrow": "내일",
        "before": "전(?=[에,\\s]) 이전",
        "after": "후(?=[에,\\s]) 이후 다음",
        "ended": "더\\s?이상 더는 전(?=\\s[대총])",
        "more": "더(?=\\s)(?!\\s이상|\\s적) 보다 이상",
        "less": "덜 적(?=[은게]) 미만 이하",
    },
    "nl": {
        "all": "alle alles altijd elke elk ieder iedere iedereen beide",
        "some": "sommige soms enkele enige verschillende iemand iets",
        "most": "meeste meestal",
        "few": "weinig zelden",
        "only": "alleen slechts enkel maar",
        "must": "moet moeten moest moesten",
        "may": "mag mogen kan kunnen kon konden misschien mogelijk zou_kunnen",
        "should": "zou_moeten",
        "yesterday": "gisteren",
        "today": "vandaag",
        "tomorrow": "morgen",
        "before": "voor voordat geleden eerder",
        "after": "na nadat daarna",
        "ended": "niet_meer geen_meer vroeger voormalig*",
        "more": "meer",
        "less": "minder",
    },
    "pl": {
        "all": "wszystk* wszyscy zawsze każd* oba obie obaj",
        "some": "niektór* czasem czasami kilka kilku pewn*",
        "most": "większość* większoś* najczęściej",
        "few": "niewiele mało rzadko niewielu",
        "only": "tylko jedynie wyłącznie",
        "must": "musi muszą muszę musimy musiał* trzeba należy",
        "may": "może mogą mogę możemy mógł* mogła mogło można być_może wolno",
        "should": "powin*",
        "yesterday": "wczoraj*",
        "today": "dziś dzisiaj dzisiej*",
        "tomorrow": "jutro jutrzej*",
        "before": "przed zanim temu wcześniej",
        "after": "po potem",
        "ended": "już_nie dawniej były była",
        "more": "więcej bardziej",
        "less": "mniej",
    },
    "pt": {
        "all": "todo todos toda todas tudo sempre cada ambos ambas",
        "some": "alguns algumas algum alguma algo alguém vários várias vezes",
        "most": "maioria maior_parte",
        "few": "poucos poucas pouco raramente",
        "only": "só somente apenas unicamente",
        "must": "deve devem devo devemos devia tem_que têm_que tenho_que preciso precisa",
        "may": "pode podem posso podemos poderia poderiam podia talvez possível possivelmente",
        "should": "deveria deveriam",
        "yesterday": "ontem",
        "today": "hoje",
        "tomorrow": "amanhã",
        "before": "antes atrás há anteriormente",
        "after": "depois após",
        "ended": "já_não antigo antiga ex não_mais",
        "more": "mais",
        "less": "menos",
    },
    "ru": {
        "all": "все всё всех всем всеми всего всегда каждый каждая каждое каждого каждую каждой каждому оба обе обоих",
        "some": "некоторые некоторых некоторым иногда несколько нескольких что-то кто-то",
        "most": "большинство большинства большинстве обычно",
        "few": "мало редко немногие немного",
        "only": "только лишь исключительно",
        "must": "должен должна должно должны надо нужно обязан* необходимо придётся пришлось",
        "may": "может могут могу можем можно мог могла могли возможно наверное смогут сможет можете",
        "should": "следует стоит",
        "yesterday": "вчера вчерашн*",
        "today": "сегодня сегодняшн*",
        "tomorrow": "завтра завтрашн*",
        "before": "до перед прежде назад ранее",
        "after": "после затем потом",
        "ended": "больше_не уже_не раньше бывший бывшая бывшего бывшей",
        "more": "более больше",
        "less": "менее меньше",
    },
    "sv": {
        "all": "alla allt alltid varje båda samtliga",
        "some": "några någon något ibland somliga vissa flera",
        "most": "flesta oftast",
        "few": "få sällan",
        "only": "bara endast enbart",
        "must": "måste",
        "may": "kan kanske kunde möjligen får möjligt",
        "should": "bör borde ska",
        "yesterday": "igår går",
        "today": "idag dag",
        "tomorrow": "imorgon morgon",
        "before": "före innan sedan tidigare",
        "after": "efter",
        "ended": "längre brukade före_detta",
        "more": "mer mera",
        "less": "mindre",
    },
    "sw": {
        "all": "wote yote zote vyote kila daima siku_zote yeyote sote nyote",
        "some": "baadhi mara_kwa_mara wakati_mwingine kadhaa",
        "most": "wengi nyingi mingi",
        "few": "wachache chache kidogo mara_chache",
        "only": "tu pekee peke",
        "must": "lazima sharti",
        "may": "labda huenda weza naweza anaweza wanaweza inaweza unaweza tunaweza inawezekana",
        "should": "inafaa inapaswa anapaswa wanapaswa",
        "yesterday": "jana",
        "today": "leo",
        "tomorrow": "kesho",
        "before": "kabla iliyopita uliopita zilizopita",
        "after": "baada",
        "ended": "zamani wa_zamani tena",
        "more": "zaidi",
        "less": "pungufu chini",
    },
    "tr": {
        "all": "tüm bütün her hep herkes daima hepsi her_zaman ikisi",
        "some": "bazı bazen birkaç biraz kimi birkaçı",
        "most": "çoğu genellikle çoğunluk*",
        "few": "az nadiren",
        "only": "sadece yalnızca yalnız ancak",
        "must": "gerek* lazım zorunda zorund* *malı *meli *malıd* *melid*",
        "may": "belki olabilir *abilir* *ebilir* mümkün muhtemelen *abildi* *ebildi* *abile* *ebile*",
        "should": "",
        "yesterday": "dün dünkü",
        "today": "bugün bugünkü",
        "tomorrow": "yarın yarınki",
        "before": "önce öncesi* önceki evvel",
        "after": "sonra sonrası* sonraki",
        "ended": "artık eski eskiden",
        "more": "daha_fazla fazla daha",
        "less": "daha_az",
    },
    "uk": {
        "all": "всі усі все всіх усіх всім всього завжди кожен кожна кожне кожного кожну кожній обидва обидві",
        "some": "деякі деяких іноді інколи кілька декілька кількох щось хтось",
        "most": "більшість більшості зазвичай",
        "few": "мало рідко небагато",
        "only": "тільки лише лиш виключно",
        "must": "повинен повинна повинно повинні мусить мусять треба потрібно необхідно зобов'язан* довелося",
        "may": "може можуть можу можемо можна міг могла могли можливо мабуть зможуть зможе можете",
        "should": "слід варто",
        "yesterday": "вчора учора вчорашн*",
        "today": "сьогодні сьогоднішн*",
        "tomorrow": "завтра завтрашн*",
        "before": "до перед тому раніше",
        "after": "після потім",
        "ended": "більше_не вже_не колишн* раніше",
        "more": "більше більш",
        "less": "менше менш",
    },
    "vi": {
        "all": "tất_cả mọi luôn mỗi luôn_luôn cả toàn_bộ",
        "some": "một_số vài đôi_khi thỉnh_thoảng một_vài",
        "most": "hầu_hết đa_số phần_lớn",
        "few": "ít hiếm_khi",
        "only": "chỉ duy_nhất",
        "must": "phải cần (?<!cáo\\s)buộc",
        "may": "có_thể có_lẽ được_phép có_khả_năng",
        "should": "nên",
        "yesterday": "hôm_qua",
        "today": "hôm_nay",
        "tomorrow": "ngày_mai",
        "before": "trước",
        "after": "sau",
        "ended": "không_còn cựu từng",
        "more": "hơn nhiều_hơn",
        "less": "ít_hơn",
    },
    "zh": {
        "all": "所有 全部 每 都(?!市|会) 总是 一直 大家 任何",
        "some": "一些 有些 有时 几(?!乎) 某些 部分",
        "most": "大多数 大部分 通常 多数",
        "few": "很少 少数",
        "only": "(?<![一两二三四五六七八九十几这那\\d])只(?!要) 仅 唯一",
        "must": "必须 必需 需要 不得不 务必",
        "may": "可能 也许 可以 能够 或许 (?<!才)能(?![量力源])",
        "should": "应该 应当 应(?![用对急])",
        "yesterday": "昨天 昨日",
        "today": "今天 今日",
        "tomorrow": "明天 明日",
        "before": "之前 以前 前(?![往景进锋提途])",
        "after": "之后 以后 (?<![然最背今])后(?![果来卫])",
        "ended": "不再 曾经 前(?=总统|首相|总理)",
        "more": "更多 更(?![新换改衣]) 超过",
        "less": "更少 较少 少于",
    },
}
# In these a word is found inside a run of letters.
_ANYWHERE = frozenset({"zh", "ja", "ko"})
# A member whose presence in one text alone is a difference; of the others, two texts differ if each has one that the
# other lacks: translators leave them out and put them in.
_DECISIVE = frozenset({"only", "must", "may", "yesterday", "today", "tomorrow", "ended"})
# What may be written together with the word after it.
_PREFIXES = {"ar": "[وفبلك]{0,2}", "he": "[ובלהכמש]{0,2}"}


def particles_of(text: str, language: str) -> frozenset[str] | None:
    """The members of :data:`CLASSES` that a text names; ``None`` where the language has no lists.

    Parameters
    ----------
    text
        Case-folded.
    language
        Without script and country.
    """
    patterns = _patterns(language)
    if patterns is None:
        return None
    plain = text.replace("’", "'")
    return frozenset(member for member, pattern in patterns.items() if pattern.search(plain))


def opposed(first: frozenset[str], second: frozenset[str]) -> list[str]:
    """The classes in which two texts of different languages state different things."""
    found = []
    for name, members in CLASSES.items():
        one, other = first.intersection(members), second.intersection(members)
        if (one ^ other) & _DECISIVE or (one - other and other - one):
            found.append(name)
    return found


def particle_languages() -> list[str]:
    """The languages with lists, sorted."""
    return sorted(_WORDS)


@lru_cache(maxsize=64)
def _patterns(language: str) -> dict[str, regex.Pattern[str]] | None:
    if language not in _WORDS:
        return None
    found = {}
    for member, words in _WORDS[language].items():
        if not words:
            continue
        if language in _ANYWHERE:
            found[member] = regex.compile("|".join(words.split()))
            continue
        escaped = "|".join(
            word if "(" in word else regex.escape(word).replace(r"\*", r"\w*").replace("_", r"\s+")
            for word in sorted(words.split(), key=len, reverse=True)
        )
        found[member] = regex.compile(rf"(?<!\w){_PREFIXES.get(language, '')}(?:{escaped})(?!\w)")
    return found
