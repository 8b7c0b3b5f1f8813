"""Abbreviations that end in a full stop and rarely end a sentence."""

from __future__ import annotations

from functools import cache

_TITLES = "Capt Col Dr dr Gen Gov Lt Mr Mrs Ms Mt Prof Rep Rev Sen Sgt St"
_BEFORE_NUMBERS = (
    "art blz ca cap cca ch circa fig kap kl lpp no nos nr nro nru num núm nº n° p pag pg plkst pp pág rys sec sid ss "
    "str tab tel tlf vol čl рис стр табл тел "
    "jan janv feb févr mar apr avr jun juin jul juil aug août sep sept oct okt nov dec dez déc"
)
_OF_LANGUAGE = {
    "af": "adv bv d.w.s ds eerw mej mev mnr nl o.a prof",
    "az": "cən müəl prof",
    "be": "вул гл зав зб праф св т.зв",
    "bg": "бул вж гр доц др инж напр пл проф св т.е т.нар т.ч ул",
    "bn": "ড ডঃ ডা ডাঃ মো মোঃ",
    "bs": "br dr g gđa gđica inž mr npr prof sv tj tzv ul čl",
    "ca": "av dra p.ex pl prof sr sra srs sta",
    "cs": ("bc doc dr gen ing judr kpt mgr mjr mudr např nám phdr plk popř prof pí resp rndr sv tj tzn tzv ul č"),
    "cy": "dr e.e mr mrs parch",
    "da": ("bl.a cand d.v.s dvs f.eks fhv frk hhv hr ing jf kgl maks mio p.g.a pga phil s.k sct skt sml stk stud vedr"),
    "de": (
        "b bspw bzw d d.h dipl dr evtl exkl fr frl geb gem ggf hl hr hrsg inkl jh lt mio mrd o.g o.ä phil "
        "prof rer sog spp st u u.a u.u v.a vgl vs z z.b z.t zzgl"
    ),
    "el": "αγ βλ γεν δηλ δις δρ εκατ κ κα κατ κκ κος λ.χ λεωφ οδ π.χ πρβλ σελ τηλ χιλ",
    "en": "al approx cf e.g i.e viz vs",
    "es": "aprox arq avda d dr dra dres dña ee excmo gral ing lic p.ej prof profa sr sra sres srta sta sto",
    "et": "dr hr ld lp nt pr prl prof s.o s.t sh st tn u vt",
    "eu": "adib and dr ibid jn",
    "fi": (
        "alk ap em ent esim huom kenr klo ks luutn maist milj mm mrd n nk ns os prof puh rov rva synt t.s "
        "toim tri ts vrt vt"
    ),
    "fil": "atty bb dr engr g gng hal kgg sta sto",
    "fo": "dr hr t.d t.e",
    "fr": "apr av boul c.-à-d cf chap dr env m mgr mlle mm mme mmes p.ex prof ste tél éd",
    "ga": "dr m.sh tuas uas",
    "gl": "av dna dr dra ee prof páx sr sra sta sto",
    "gu": "ડૉ ડો પ્રો શ્રી",
    "he": "גב פרופ",
    "hi": "डा डॉ पं प्रो मि श्री श्रीमती सुश्री स्व",
    "hr": "br dr g gđa gđica inž mr npr prof sv tj tzv ul čl",
    "hu": "dr id ifj pl prof szt vö évf özv ún",
    "hy": "դոկտ պրն պրոֆ տկն",
    "id": "a.n bpk dr dra drs gg h hj ir jl kab kec kel kh ny prof rp rt rw sdr sdri tn tsb yth",
    "is": "bls dr hr m.a sr t.d þ.e",
    "it": (
        "arch avv dott dott.ssa dr ecc.za egr es geom ing mons on p.es prof prof.ssa rag rev sig sig.na "
        "sig.ra sigg spett"
    ),
    "ka": "ე.წ მაგ წმ",
    "kk": "ж проф",
    "kn": "ಡಾ ಪ್ರೊ ಶ್ರೀ",
    "ky": "ж проф",
    "lb": "bzw dr evtl mme st z.b",
    "lt": "doc dr g gerb kun m mln mlrd pav pl plg pr prof pvz sk t.y tūkst vad vyr šv žr",
    "lv": "dr inž nod piem prof sk sv t.i t.s tūkst",
    "mk": "бр г г-дин г-ѓа д-р инж м-р пр проф св т.е т.н ул",
    "ml": "ഡോ പ്രൊഫ ശ്രീ",
    "mr": "डा डॉ प्रा मा श्री श्रीमती",
    "ms": "dr en hj pn prof sdr tn ybhg",
    "mt": "dott mons onor paġ sinj sr sra",
    "no": "adr bl.a d.v.s dvs el f.eks hr jf kgl maks mill mrd pga s.k sml st stk",
    "ne": "डा प्रा मा श्री",
    "nl": (
        "b.v bijv bv d.w.z dhr dr drs evt excl fam gebr i.p.v i.v.m incl ing ir jhr m.b.t m.i.v m.n mej "
        "mevr mgr mr mw nl o.a o.l.v plm prof resp st t.a.v t.b.v t.o.v t.w v.d vgl z.g zgn"
    ),
    "nn": "bl.a d.v.s dvs el f.eks hr mill mrd pga s.k st",
    "pa": "ਡਾ ਪ੍ਰੋ ਸ ਸ਼੍ਰੀ ਸ੍ਰ",
    "pl": (
        "abp al ang bp bł dr gen godz hab hr inż kard kpt ks lek m.in mec mgr mjr nadkom np nt o os p pl ppor "
        "prof prok płk red sierż st tj tzn tzw ul vs zob zw ś.p św"
    ),
    "pt": "av d dr dra dras drs eng exa exma exmo gen n p.ex pe prof profa profª sr sra srs srta sta sto",
    "ro": "acad alin bd bl conf d-l d-na d-ra dl dna dr drd gen ing lt mr nr prof sc sf str univ șos",
    "ru": (
        "акад англ бул г гг гос гр греч д д-р ж зав зам илл инж кап кв кн лат млн млрд наб напр нем о обл "
        "оз пер пл пос просп проф р с св см сокр соч ср ст т т.е т.к т.н тыс ул урожд ф франц яп"
    ),
    "sk": ("bc doc dr gen ing judr kpt mgr mjr mudr napr nám p phdr plk popr prof resp rndr sv t.j tj tzn tzv ul č"),
    "sl": "dipl doc dr g gdč ing inž mag npr oz prof sv t.i tj ul št",
    "sq": "dr p.sh prof z znj",
    "sr": ("br dr g gđa gđica inž mr npr prof sv tj tzv ul čl бр г гђа гђица др инж мр нпр проф св тзв тј ул чл"),
    "sv": (
        "adj bl.a d.v.s dr dvs ev f.d fr.o.m förf hr inkl jfr kungl m.a.o max p.g.a prof resp s.a.s s.k st t.ex t.o.m"
    ),
    "sw": "bi bw dk dkt mch mh mhe prof",
    "ta": "செல்வி டாக்டர் திரு திருமதி",
    "te": "డా ప్రొ శ్రీ",
    "th": "ดร น.ส นพ ผศ พ.ต พญ พล มร ร.ต รศ",
    "tr": (
        "alb apt arş av bkz bul cad doç dr hz korg mah md müh ord prof sn sok st tel tğm uzm yay yrd çav çev ör örn şb"
    ),
    "tt": "проф",
    "uk": (
        "акад англ бл бул вид вул гр д д-р див дод зав зб зв кв кн м млн млрд наб напр нар о обл п пл пор "
        "пров просп проф р рис рр с св см ст стор т.зв т.к тис тов франц ім інж"
    ),
    "vi": "bs gs h kp p pgs q ths tp tr ts tt tx v.v đ/c",
    "xh": "mnu nkszn",
    "zu": "mnu nkz umfu",
}


# Titles before names, for text of any language, since names keep their titles.
TITLES = frozenset(_TITLES.split())
# Abbreviations only before a number: "no. 5", but "He said no. Then he left."
BEFORE_NUMBERS = frozenset(_BEFORE_NUMBERS.split())


@cache
def abbreviations(language: str) -> frozenset[str]:
    """Return a language's abbreviations, case-folded and without their last full stop; empty if none are known."""
    return frozenset(_OF_LANGUAGE.get(language, "").casefold().split())
