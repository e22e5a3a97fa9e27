"""What the synthetic authors say: sentences by language and mood, and where the language's speakers live.

A sentence has one gap for its subject: a topic's keyword or, where nothing in particular is talked about, one
of the language's everyday subjects. Sentences are made so that a word fits in without being inflected.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Town:
    """A place as X tags it and a place as authors write it into their profile."""

    full_name: str
    country_code: str
    country: str
    profile: str


@dataclass(frozen=True)
class Language:
    """One language: its share of all posts, the UTC hour at which most is written, and its sentences."""

    code: str
    share: float
    peak_hour: float
    towns: tuple[Town, ...]
    openers: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    neutral: tuple[str, ...]
    subjects: tuple[str, ...]
    pair: str
    """A sentence about two subjects at once."""
    names: tuple[str, ...]


LANGUAGES: tuple[Language, ...] = (
    Language(
        code="en",
        share=0.30,
        peak_hour=19,
        towns=(
            Town("London, England", "GB", "United Kingdom", "London"),
            Town("Manhattan, NY", "US", "United States", "New York, NY"),
            Town("Toronto, Ontario", "CA", "Canada", "Toronto 🇨🇦"),
            Town("Melbourne, Victoria", "AU", "Australia", "Melbourne"),
            Town("Lagos, Nigeria", "NG", "Nigeria", "Lagos"),
        ),
        openers=("Honestly,", "Just saying:", "Good morning.", "Still thinking about it.", "Again:", "Look,"),
        positive=(
            "I love what {} is doing, so proud and happy today",
            "{} gives me hope. What a great day!",
            "Amazing news about {}, best thing I have read all week",
            "So much respect for {}. Brave, kind and strong",
            "I really enjoyed reading about {}, wonderful people",
            "Thank you {}! This is a beautiful success",
            "{} is winning and I could not be happier",
        ),
        negative=(
            "I hate what is happening with {}, this is terrible",
            "{} is a disaster and nobody does anything. So angry",
            "Sick and tired of {}. Lies, lies and more lies",
            "What a shame. {} makes me sad and scared",
            "The worst news of the week: {}. Awful",
            "{} has failed us again, this is a disgrace",
            "I don't trust {} at all, horrible decision",
        ),
        neutral=(
            "Reading an article about {} this evening",
            "Does anyone know when the talks about {} start?",
            "New report on {} published today",
            "{} will be discussed at the meeting on Thursday",
            "Live at 8: a conversation about {}",
            "Here is a map of {} and a short summary",
        ),
        subjects=(
            "coffee",
            "the weather",
            "my new phone",
            "this series",
            "the traffic",
            "our team",
            "the garden",
        ),
        pair="{} and {} again in the same headline, what do you think?",
        names=("Emma Clark", "Jack Murphy", "Olivia Brown", "Noah Adeyemi", "Chloe Martin", "Liam O'Neill"),
    ),
    Language(
        code="es",
        share=0.11,
        peak_hour=21,
        towns=(
            Town("Madrid, España", "ES", "Spain", "Madrid"),
            Town("Ciudad de México, México", "MX", "Mexico", "CDMX"),
            Town("Buenos Aires, Argentina", "AR", "Argentina", "Buenos Aires"),
        ),
        openers=("Sinceramente,", "Buenos días.", "Otra vez:", "Lo digo en serio:", "Pues nada,"),
        positive=(
            "Me encanta lo que pasa con {}, qué alegría tan grande",
            "{} me da esperanza, un día maravilloso",
            "Excelentes noticias sobre {}, muy feliz y orgulloso",
            "Todo mi respeto para {}, gente valiente y buena",
            "Gracias {}, qué hermoso ejemplo",
        ),
        negative=(
            "Odio lo que pasa con {}, es terrible",
            "{} es un desastre, qué vergüenza y qué rabia",
            "Estoy harto de {}, puras mentiras",
            "Qué tristeza lo de {}, una noticia horrible",
            "Lo peor de la semana: {}. Fatal",
        ),
        neutral=(
            "Leyendo un artículo sobre {} esta tarde",
            "¿Alguien sabe cuándo empieza la reunión sobre {}?",
            "Nuevo informe sobre {} publicado hoy",
            "Esta noche en directo: una charla sobre {}",
        ),
        subjects=("el café", "el tiempo", "mi barrio", "la serie", "el tráfico", "el partido"),
        pair="{} y {} otra vez en la misma noticia",
        names=("Lucía Gómez", "Mateo Pérez", "Sofía Díaz", "Diego Ruiz", "Valentina Ríos"),
    ),
    Language(
        code="pt",
        share=0.07,
        peak_hour=22,
        towns=(
            Town("São Paulo, Brasil", "BR", "Brazil", "São Paulo"),
            Town("Lisboa, Portugal", "PT", "Portugal", "Lisboa"),
        ),
        openers=("Sinceramente,", "Bom dia.", "De novo:", "Olha,"),
        positive=(
            "Adoro o que acontece com {}, que alegria",
            "{} me dá esperança, um dia maravilhoso",
            "Ótimas notícias sobre {}, muito feliz e orgulhosa",
            "Muito respeito por {}, gente corajosa",
            "Obrigado {}, que lindo exemplo",
        ),
        negative=(
            "Odeio o que acontece com {}, é terrível",
            "{} é um desastre, que vergonha e que raiva",
            "Cansado de {}, só mentiras",
            "Que tristeza isso de {}, notícia horrível",
            "O pior da semana: {}. Péssimo",
        ),
        neutral=(
            "Lendo um artigo sobre {} agora",
            "Alguém sabe quando começa a reunião sobre {}?",
            "Novo relatório sobre {} publicado hoje",
            "Ao vivo às 20h: conversa sobre {}",
        ),
        subjects=("o café", "o tempo", "meu bairro", "a novela", "o trânsito", "o jogo"),
        pair="{} e {} de novo na mesma manchete",
        names=("Ana Souza", "João Silva", "Beatriz Costa", "Pedro Lima"),
    ),
    Language(
        code="fr",
        share=0.06,
        peak_hour=19,
        towns=(
            Town("Paris, France", "FR", "France", "Paris"),
            Town("Bruxelles, Belgique", "BE", "Belgium", "Bruxelles"),
            Town("Montréal, Québec", "CA", "Canada", "Montréal"),
        ),
        openers=("Franchement,", "Bonjour à tous.", "Encore une fois :", "Bref,"),
        positive=(
            "J'adore ce qui se passe avec {}, quelle joie",
            "{} me donne de l'espoir, une journée magnifique",
            "Excellente nouvelle sur {}, très heureux et fier",
            "Beaucoup de respect pour {}, des gens courageux",
            "Merci {}, quel bel exemple",
        ),
        negative=(
            "Je déteste ce qui se passe avec {}, c'est terrible",
            "{} est un désastre, quelle honte, je suis en colère",
            "Marre de {}, que des mensonges",
            "Quelle tristesse, {}, une nouvelle horrible",
            "Le pire de la semaine : {}. Lamentable",
        ),
        neutral=(
            "Je lis un article sur {} ce soir",
            "Quelqu'un sait quand commence la réunion sur {} ?",
            "Nouveau rapport sur {} publié aujourd'hui",
            "En direct à 20 h : une discussion sur {}",
        ),
        subjects=("le café", "la météo", "mon quartier", "la série", "le métro", "le match"),
        pair="{} et {} encore dans le même titre",
        names=("Camille Dubois", "Hugo Leroy", "Léa Bernard", "Louis Moreau"),
    ),
    Language(
        code="de",
        share=0.06,
        peak_hour=19,
        towns=(
            Town("Berlin, Deutschland", "DE", "Germany", "Berlin"),
            Town("Wien, Österreich", "AT", "Austria", "Wien"),
            Town("Zürich, Schweiz", "CH", "Switzerland", "Zürich"),
        ),
        openers=("Ehrlich gesagt:", "Guten Morgen.", "Schon wieder:", "Mal so:"),
        positive=(
            "Ich liebe, was mit {} passiert, so eine Freude",
            "{} macht mir Hoffnung, ein wunderschöner Tag",
            "Großartige Nachricht über {}, bin glücklich und stolz",
            "Viel Respekt für {}, mutige und gute Menschen",
            "Danke {}, ein tolles Beispiel",
        ),
        negative=(
            "Ich hasse, was mit {} passiert, schrecklich",
            "{} ist eine Katastrophe, was für eine Schande",
            "Ich habe genug von {}, nur noch Lügen",
            "So traurig: {}, eine furchtbare Nachricht",
            "Das Schlimmste der Woche: {}. Einfach schlecht",
        ),
        neutral=(
            "Lese gerade einen Artikel über {}",
            "Weiß jemand, wann die Sitzung über {} beginnt?",
            "Neuer Bericht über {} heute veröffentlicht",
            "Heute um 20 Uhr live: ein Gespräch über {}",
        ),
        subjects=("der Kaffee", "das Wetter", "die Bahn", "die Serie", "der Verkehr", "das Spiel"),
        pair="{} und {} wieder in einer Schlagzeile",
        names=("Lena Schmidt", "Jonas Weber", "Mia Fischer", "Paul Wagner"),
    ),
    Language(
        code="it",
        share=0.04,
        peak_hour=19,
        towns=(
            Town("Roma, Lazio", "IT", "Italy", "Roma"),
            Town("Milano, Lombardia", "IT", "Italy", "Milano"),
        ),
        openers=("Sinceramente,", "Buongiorno.", "Ancora:", "Insomma,"),
        positive=(
            "Adoro quello che succede con {}, che gioia",
            "{} mi dà speranza, una giornata meravigliosa",
            "Ottime notizie su {}, felice e orgoglioso",
            "Grande rispetto per {}, gente coraggiosa",
            "Grazie {}, che bell'esempio",
        ),
        negative=(
            "Odio quello che succede con {}, è terribile",
            "{} è un disastro, che vergogna e che rabbia",
            "Stanco di {}, solo bugie",
            "Che tristezza {}, una notizia orribile",
            "Il peggio della settimana: {}. Pessimo",
        ),
        neutral=(
            "Sto leggendo un articolo su {}",
            "Qualcuno sa quando inizia la riunione su {}?",
            "Nuovo rapporto su {} pubblicato oggi",
            "Stasera in diretta: una discussione su {}",
        ),
        subjects=("il caffè", "il tempo", "il mio quartiere", "la serie", "il traffico", "la partita"),
        pair="{} e {} di nuovo nello stesso titolo",
        names=("Giulia Rossi", "Marco Bianchi", "Sara Conti", "Luca Ferri"),
    ),
    Language(
        code="nl",
        share=0.02,
        peak_hour=19,
        towns=(
            Town("Amsterdam, Nederland", "NL", "Netherlands", "Amsterdam"),
            Town("Gent, België", "BE", "Belgium", "Gent"),
        ),
        openers=("Eerlijk gezegd:", "Goedemorgen.", "Alweer:"),
        positive=(
            "Ik hou van wat er met {} gebeurt, wat een vreugde",
            "{} geeft me hoop, een prachtige dag",
            "Geweldig nieuws over {}, blij en trots",
            "Veel respect voor {}, dappere mensen",
        ),
        negative=(
            "Ik haat wat er met {} gebeurt, verschrikkelijk",
            "{} is een ramp, wat een schande",
            "Ik ben {} helemaal zat, alleen maar leugens",
            "Zo verdrietig: {}, vreselijk nieuws",
        ),
        neutral=(
            "Ik lees een artikel over {}",
            "Weet iemand wanneer het overleg over {} begint?",
            "Nieuw rapport over {} vandaag verschenen",
        ),
        subjects=("de koffie", "het weer", "de trein", "de serie", "het verkeer"),
        pair="{} en {} weer in dezelfde kop",
        names=("Sanne de Vries", "Daan Bakker", "Lotte Visser"),
    ),
    Language(
        code="pl",
        share=0.04,
        peak_hour=19,
        towns=(
            Town("Warszawa, Polska", "PL", "Poland", "Warszawa"),
            Town("Kraków, Polska", "PL", "Poland", "Kraków"),
        ),
        openers=("Szczerze:", "Dzień dobry.", "Znowu:", "Serio,"),
        positive=(
            "{}: wspaniała wiadomość, jestem szczęśliwy i dumny",
            "{} daje mi nadzieję, piękny dzień",
            "Kocham to, {} to dobrzy i odważni ludzie",
            "Dziękuję, {} to świetny przykład",
        ),
        negative=(
            "{}: straszna wiadomość, jestem wściekły",
            "{} to katastrofa i wstyd",
            "Mam dość, {} to same kłamstwa",
            "Smutno mi, {} to najgorsza wiadomość tygodnia",
        ),
        neutral=(
            "Czytam artykuł na temat: {}",
            "Czy ktoś wie, kiedy zaczyna się spotkanie? Temat: {}",
            "Nowy raport, temat: {}",
        ),
        subjects=("kawa", "pogoda", "pociąg", "serial", "korki", "mecz"),
        pair="{} i {} znowu w jednym nagłówku",
        names=("Zofia Nowak", "Jan Kowalski", "Maja Wójcik", "Piotr Mazur"),
    ),
    Language(
        code="ru",
        share=0.07,
        peak_hour=17,
        towns=(
            Town("Москва, Россия", "RU", "Russia", "Москва"),
            Town("Алматы, Казахстан", "KZ", "Kazakhstan", "Алматы"),
            Town("Минск, Беларусь", "BY", "Belarus", "Минск"),
        ),
        openers=("Честно говоря,", "Доброе утро.", "Опять:", "Короче,"),
        positive=(
            "{} — прекрасная новость, я счастлив и горжусь",
            "{} даёт мне надежду, чудесный день",
            "Люблю, {} — это добрые и смелые люди",
            "Спасибо, {} — отличный пример",
            "{} победит, очень рад",
        ),
        negative=(
            "{} — ужасная новость, я в ярости",
            "{} — это катастрофа и позор",
            "Надоело, {} — сплошная ложь",
            "Грустно и страшно, {} — худшая новость недели",
            "Ненавижу, что творит {}, кошмар",
        ),
        neutral=(
            "Читаю статью, тема: {}",
            "Кто знает, когда начнётся встреча? Тема: {}",
            "Новый отчёт, тема: {}",
            "Сегодня в эфире: {} и комментарии экспертов",
        ),
        subjects=("кофе", "погода", "метро", "сериал", "пробки", "матч"),
        pair="{} и {} снова в одном заголовке",
        names=("Анна Иванова", "Дмитрий Соколов", "Мария Петрова", "Алексей Волков"),
    ),
    Language(
        code="uk",
        share=0.05,
        peak_hour=18,
        towns=(
            Town("Львів, Україна", "UA", "Ukraine", "Львів"),
            Town("Одеса, Україна", "UA", "Ukraine", "Одеса"),
        ),
        openers=("Чесно кажучи,", "Доброго ранку.", "Знову:", "Отже,"),
        positive=(
            "{} — чудова новина, я щасливий і пишаюся",
            "{} дає мені надію, прекрасний день",
            "Люблю, {} — це добрі й сміливі люди",
            "Дякую, {} — найкращий приклад",
            "{} переможе, дуже радію",
        ),
        negative=(
            "{} — жахлива новина, я лютий",
            "{} — це катастрофа і ганьба",
            "Набридло, {} — суцільна брехня",
            "Сумно і страшно, {} — найгірша новина тижня",
        ),
        neutral=(
            "Читаю статтю, тема: {}",
            "Хто знає, коли почнеться зустріч? Тема: {}",
            "Новий звіт, тема: {}",
        ),
        subjects=("кава", "погода", "потяг", "серіал", "затори", "матч"),
        pair="{} і {} знову в одному заголовку",
        names=("Олена Коваль", "Андрій Шевчук", "Ірина Мельник", "Тарас Бондар"),
    ),
    Language(
        code="tr",
        share=0.04,
        peak_hour=18,
        towns=(
            Town("İstanbul, Türkiye", "TR", "Türkiye", "İstanbul"),
            Town("Ankara, Türkiye", "TR", "Türkiye", "Ankara"),
        ),
        openers=("Açıkçası,", "Günaydın.", "Yine:", "Bence"),
        positive=(
            "{} harika bir haber, çok mutluyum",
            "{} bana umut veriyor, güzel bir gün",
            "{} için büyük saygı, cesur ve iyi insanlar",
            "Teşekkürler {} , muhteşem bir örnek",
        ),
        negative=(
            "{} korkunç bir haber, çok öfkeliyim",
            "{} tam bir felaket, yazık ve utanç verici",
            "{} hep yalan, bıktım artık",
            "Çok üzgünüm, {} haftanın en kötü haberi",
        ),
        neutral=(
            "{} hakkında bir makale okuyorum",
            "{} toplantısı ne zaman başlıyor, bilen var mı?",
            "{} üzerine yeni rapor bugün yayımlandı",
        ),
        subjects=("kahve", "hava", "otobüs", "dizi", "trafik", "maç"),
        pair="{} ve {} yine aynı manşette",
        names=("Elif Yılmaz", "Mehmet Kaya", "Zeynep Demir", "Emre Çelik"),
    ),
    Language(
        code="ar",
        share=0.05,
        peak_hour=18,
        towns=(
            Town("القاهرة, مصر", "EG", "Egypt", "القاهرة"),
            Town("الرياض, المملكة العربية السعودية", "SA", "Saudi Arabia", "الرياض"),
            Town("الدار البيضاء, المغرب", "MA", "Morocco", "المغرب"),
        ),
        openers=("بصراحة،", "صباح الخير.", "مرة أخرى:"),
        positive=(
            "خبر رائع عن {} أنا سعيد وفخور",
            "{} تعطيني الأمل، يوم جميل",
            "كل الاحترام إلى {} شعب شجاع وطيب",
            "شكرا {} مثال ممتاز",
        ),
        negative=(
            "خبر سيئ عن {} أنا غاضب جدا",
            "{} كارثة وعار على الجميع",
            "تعبت من {} كلها أكاذيب",
            "حزين وخائف، {} أسوأ خبر هذا الأسبوع",
        ),
        neutral=(
            "أقرأ الآن مقالا عن {} في الصحيفة",
            "من يعرف متى يبدأ الاجتماع حول {} اليوم؟",
            "تقرير جديد عن {} نشر اليوم",
        ),
        subjects=("القهوة", "الطقس", "المسلسل", "الازدحام", "المباراة"),
        pair="{} و {} في نفس العنوان مرة أخرى",
        names=("محمد علي", "فاطمة حسن", "أحمد سالم", "نور الدين"),
    ),
    Language(
        code="hi",
        share=0.03,
        peak_hour=14,
        towns=(
            Town("New Delhi, India", "IN", "India", "दिल्ली"),
            Town("Mumbai, India", "IN", "India", "Mumbai"),
        ),
        openers=("सच कहूँ तो,", "सुप्रभात।", "फिर से:"),
        positive=(
            "{} की बहुत अच्छी खबर, मैं खुश हूँ",
            "{} से उम्मीद मिलती है, शानदार दिन",
            "{} के बहादुर लोगों को सलाम",
            "धन्यवाद {} बहुत सुंदर उदाहरण",
        ),
        negative=(
            "{} की बहुत बुरी खबर, मैं गुस्से में हूँ",
            "{} एक तबाही है, शर्मनाक",
            "{} के झूठ से तंग आ गया हूँ",
            "बहुत दुख हुआ, {} की सबसे खराब खबर",
        ),
        neutral=(
            "{} पर एक लेख पढ़ रहा हूँ",
            "{} पर बैठक कब शुरू होगी?",
            "{} पर नई रिपोर्ट आज आई",
        ),
        subjects=("चाय", "मौसम", "ट्रेन", "फिल्म", "क्रिकेट"),
        pair="{} और {} फिर एक ही खबर में",
        names=("राहुल शर्मा", "प्रिया सिंह", "अमित कुमार"),
    ),
    Language(
        code="ja",
        share=0.04,
        peak_hour=12,
        towns=(
            Town("東京都, 日本", "JP", "Japan", "東京"),
            Town("大阪府, 日本", "JP", "Japan", "大阪"),
        ),
        openers=("正直、", "おはよう。", "また、"),
        positive=(
            "{}のニュース、本当に嬉しい。最高です",
            "{}に希望をもらった。素晴らしい一日",
            "{}の人たちを尊敬します。勇敢で優しい",
            "ありがとう、{}。とても美しい",
        ),
        negative=(
            "{}のニュース、本当にひどい。最悪です",
            "{}は大失敗。恥ずかしいし腹が立つ",
            "{}にはもううんざり。嘘ばかり",
            "悲しいし怖い。{}は今週最悪の話題",
        ),
        neutral=(
            "{}についての記事を読んでいる",
            "{}の会議はいつ始まりますか?",
            "{}に関する新しい報告が今日出ました",
        ),
        subjects=("コーヒー", "天気", "電車", "ドラマ", "試合"),
        pair="{}と{}がまた同じ見出しに",
        names=("佐藤 花", "鈴木 健", "高橋 結衣"),
    ),
    Language(
        code="in",
        share=0.03,
        peak_hour=13,
        towns=(
            Town("Jakarta, Indonesia", "ID", "Indonesia", "Jakarta"),
            Town("Bandung, Indonesia", "ID", "Indonesia", "Bandung"),
        ),
        openers=("Jujur,", "Selamat pagi.", "Lagi-lagi:"),
        positive=(
            "Berita bagus tentang {} , saya senang dan bangga",
            "{} memberi harapan, hari yang indah",
            "Hormat untuk {} , orang-orang hebat dan berani",
            "Terima kasih {} , contoh yang luar biasa",
        ),
        negative=(
            "Berita buruk tentang {} , saya marah sekali",
            "{} itu bencana dan memalukan",
            "Capek dengan {} , bohong semua",
            "Sedih dan takut, {} berita terburuk minggu ini",
        ),
        neutral=(
            "Sedang membaca artikel tentang {}",
            "Ada yang tahu kapan rapat tentang {} dimulai?",
            "Laporan baru tentang {} terbit hari ini",
        ),
        subjects=("kopi", "cuaca", "kereta", "drama", "macet"),
        pair="{} dan {} lagi di judul yang sama",
        names=("Siti Rahma", "Budi Santoso", "Dewi Lestari"),
    ),
    Language(
        code="ko",
        share=0.02,
        peak_hour=12,
        towns=(Town("서울특별시, 대한민국", "KR", "South Korea", "서울"),),
        openers=("솔직히,", "좋은 아침.", "또,"),
        positive=(
            "{} 소식 정말 기쁘다. 최고예요",
            "{} 덕분에 희망이 생겼다. 멋진 하루",
            "{} 사람들 존경합니다. 용감하고 착해요",
        ),
        negative=(
            "{} 소식 정말 끔찍하다. 최악이에요",
            "{} 완전 실패. 부끄럽고 화난다",
            "{} 이제 지겹다. 거짓말뿐",
        ),
        neutral=(
            "{} 관련 기사를 읽는 중",
            "{} 회의는 언제 시작하나요?",
            "{} 관련 새 보고서가 오늘 나왔습니다",
        ),
        subjects=("커피", "날씨", "지하철", "드라마", "경기"),
        pair="{} 그리고 {} 또 같은 기사에",
        names=("김민준", "이서연", "박지훈"),
    ),
    Language(
        code="zh",
        share=0.01,
        peak_hour=13,
        towns=(
            Town("臺北市, 台灣", "TW", "Taiwan", "台北"),
            Town("Singapore", "SG", "Singapore", "新加坡"),
        ),
        openers=("说实话,", "早上好。", "又来了:"),
        positive=(
            "{}的消息太好了,我很高兴",
            "{}给了我希望,美好的一天",
            "向{}致敬,勇敢善良的人们",
        ),
        negative=(
            "{}的消息太糟糕了,我很生气",
            "{}是一场灾难,真丢脸",
            "受够了{},全是谎言",
        ),
        neutral=(
            "正在读一篇关于{}的文章",
            "关于{}的会议什么时候开始?",
            "关于{}的新报告今天发布",
        ),
        subjects=("咖啡", "天气", "地铁", "电视剧", "比赛"),
        pair="{}和{}又出现在同一个标题里",
        names=("王芳", "李伟", "陈静"),
    ),
)

EMOJI = {
    "positive": ("", "", "", " 😊", " ❤️", " 👏", " 🎉", "!", "!!"),
    "negative": ("", "", "", " 😡", " 😢", " 💔", " 👎", "!", "..."),
    "neutral": ("", "", "", "", " 👀", " 🧵"),
}

WORDLESS = ("🔥🔥🔥 {}", "{} 👀", "😂😂 {}", "{} 💙💛", "{}", "👇👇 {}")
"""Posts whose language X does not name; the gap is for a keyword or a link."""
