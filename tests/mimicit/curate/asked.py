"""Instructions with their kind, verb and noun, labelled by hand."""

from __future__ import annotations

ENGLISH = """
Describe the room in a few sentences. | describe | describe | room
Please describe the main colors of this painting. | describe | describe | color
Could you give a short summary of the video? | describe | give | summary
Write a caption for this photo. | describe | write | caption
Explain the joke in the cartoon. | describe | explain | joke
Provide a detailed explanation of the diagram. | describe | provide | explanation
Tell me about the buildings in the background. | describe | tell | building
Summarize the events of the clip in one paragraph. | describe | summarize | event
Can you describe the clothes of the children? | describe | describe | clothes
I would like you to narrate the scene. | describe | narrate | scene
What animal is on the roof? | what | be | animal
What color are the curtains? | what | be | color
What is the boy eating? | what | eat | boy
What are the two men carrying? | what | carry | man
What does the old woman sell? | what | sell | woman
What did the player throw? | what | throw | player
What is the weather like in the photo? | what | be | weather
What is the name of the ship? | what | be | name
What sport are the girls playing? | what | play | sport
What kind of fruit is in the bowl? | what | be | fruit
What type of vehicle can you see on the bridge? | what | see | vehicle
What happens at the end of the video? | what | happen | end
What happened to the window? | what | happen | window
What is written on the blackboard? | what | write | blackboard
What's the man in the blue coat pointing at? | what | point | man
What might the couple be celebrating? | what | celebrate | couple
What makes this picture funny? | what | make | picture
What can you infer about the owner of the house? | what | infer | owner
What do you think the child will do next? | what | do | child
What is the relationship between the two people? | what | be | relationship
What time does the clock show? | what | show | time
What material is the bench made of? | what | make | material
What is the purpose of the red sign? | what | be | purpose
What should I do if I meet this animal? | what | do | animal
What are the ingredients of the soup? | what | be | ingredient
In the picture, what is the cat looking at? | what | look | cat
What is the difference between the two images? | what | be | difference
Which fruit is the ripest? | which | be | fruit
Which of the boys is taller? | which | be | boy
Which player won the game? | which | win | player
Which picture shows a lighthouse? | which | show | picture
Which hand is the woman using? | which | use | hand
On which shelf are the books? | which | be | shelf
Which car is parked closest to the door? | which | park | car
Who is holding the umbrella? | who | hold | umbrella
Who painted this portrait? | who | paint | portrait
Who is the woman talking to? | who | talk | woman
Whose bicycle is leaning against the wall? | who | lean | bicycle
Who are the people in the front row? | who | be | people
Who wins the race? | who | win | race
Where is the lamp? | where | be | lamp
Where are the horses running? | where | run | horse
Where did she put the keys? | where | put | key
Where was this picture taken? | where | take | picture
Where does the path lead? | where | lead | path
Can you tell me where the bus stops? | where | stop | bus
Where is the best place to sit? | where | be | place
When was the bridge built? | when | build | bridge
When does the goalkeeper catch the ball? | when | catch | ball
When do the lights turn red? | when | turn | light
Why is the baby crying? | why | cry | baby
Why are the people wearing masks? | why | wear | mask
Why did the driver stop? | why | stop | driver
Why does the dog bark at the mailman? | why | bark | dog
Why might the street be empty? | why | be | street
Explain why the kitchen looks so messy. | why | look | kitchen
How is the woman dressed? | how | dress | woman
How does the magician hide the coin? | how | hide | coin
How do the colors affect the mood? | how | affect | mood
How tall is the tree? | how | be | tree
How can I reach the second floor? | how | reach | floor
How old is the girl in the middle? | how | be | girl
How did the team celebrate the victory? | how | celebrate | victory
How far away is the boat? | how | be | boat
How to repair a bike? | how | repair | bike
How would you describe the atmosphere of the party? | how | describe | atmosphere
How many birds are sitting on the wire? | how many | count | bird
How many slices of pizza are left? | how many | count | slice
How much milk is in the glass? | how many | count | milk
Can you tell me how many chairs there are? | how many | count | chair
How many different flags can you find? | how many | count | flag
Count the candles on the cake. | how many | count | candle
Please count the number of cars in the parking lot. | how many | count | car
In this image, how many people wear glasses? | how many | count | people
Is there a fence behind the cows? | yes-no | be | fence
Is the door open? | yes-no | be | door
Is the man driving the truck? | yes-no | drive | truck
Are the children playing in the snow? | yes-no | play | child
Are there more apples than pears? | yes-no | be | apple
Does the boy have a hat? | yes-no | have | hat
Does the sign say stop? | yes-no | say | sign
Do the shoes match the dress? | yes-no | match | dress
Did the dog catch the frisbee? | yes-no | catch | frisbee
Was the photo taken at night? | yes-no | take | photo
Has the boy finished his homework? | yes-no | finish | homework
Have the guests left the room? | yes-no | leave | room
Can you see a clock on the wall? | yes-no | see | clock
Could this place be a hospital? | yes-no | be | place
Will the ball hit the window? | yes-no | hit | window
Should I take an umbrella today? | yes-no | take | umbrella
Is it raining? | yes-no | rain | -
Are they happy? | yes-no | be | -
Is this a painting or a photograph? | yes-no | be | painting
Isn't the lady holding a basket? | yes-no | hold | basket
Do you think the water is cold? | yes-no | be | water
Does this picture look real? | yes-no | look | picture
Is the train station crowded? | yes-no | be | station
Are the traffic lights working? | yes-no | work | light
Is anyone swimming in the pool? | yes-no | swim | pool
List the objects on the desk. | command | list | object
List three reasons to visit this place. | command | list | reason
Identify the animal in the tree. | command | identify | animal
Compare the two buildings. | command | compare | building
Write a poem about the sunset. | command | write | poem
Write an email to the hotel manager. | command | write | email
Create a short story based on the picture. | command | create | story
Suggest a title for the painting. | command | suggest | title
Find the hidden cat. | command | find | cat
Name the tools on the bench. | command | name | tool
Read the text on the label. | command | read | text
Translate the sign into English. | command | translate | sign
Give me some advice for my trip. | command | give | advice
Generate five questions about the image. | command | generate | question
Imagine a conversation between the two dogs. | command | imagine | conversation
Help me plan a birthday party. | command | plan | party
Can you recommend a restaurant nearby? | command | recommend | restaurant
Would you please rewrite this sentence? | command | rewrite | sentence
I want you to design a logo for my shop. | command | design | logo
Your task is to find the differences between the pictures. | command | find | difference
Let's talk about the music. | describe | talk | music
Predict the next step of the recipe. | command | predict | step
Point out the errors in the drawing. | command | point | error
Draw a map of the village. | command | draw | map
Answer the question with one word. | command | answer | question
Rate the quality of the photograph. | command | rate | quality
Choose the correct option. | command | choose | option
Locate the fire extinguisher. | command | locate | extinguisher
Look at the picture. What is the bird building? | what | build | bird
The man in the suit is shouting. Why is he angry? | why | be | -
There are two cats here. Which one is black? | which | be | -
Hi, what is the tallest building in this city? | what | be | building
Well, is the shop closed? | yes-no | close | shop
You are a helpful assistant. Describe the garden. | describe | describe | garden
What is the color of the left car? A. red B. blue C. green | choice | be | color
Is the answer A or B? | yes-no | be | answer
Where is the dog? (A) on the sofa (B) under the table | choice | be | dog
<image> What is the horse jumping over? | what | jump | horse
<image>
Write a review of the restaurant. | command | write | review
Given the floor plan, where should the sofa go? | where | go | sofa
Based on the video, did the chef add salt? | yes-no | add | salt
If you were the coach, what would you tell the team? | what | tell | team
The picture of a lake. | statement | - | picture
Do you know what the tower is called? | what | call | tower
I wonder what the woman is reading. | what | read | woman
Describe what the clown is doing. | describe | describe | clown
Tell me whether the light is on. | yes-no | be | light
What number is on the player's shirt? | what | be | number
What do the arrows on the map mean? | what | mean | arrow
What is the first thing she does after waking up? | what | be | thing
How does the woman feel about the gift? | how | feel | woman
What did the waiter bring them? | what | bring | waiter
Where on the shelf is the vase? | where | be | vase
What colour dress is the bride wearing? | what | wear | dress
What objects are placed on the windowsill? | what | place | object
What emotions does the painting evoke? | what | evoke | emotion
What activity are the people engaged in? | what | engage | activity
Show me the way to the museum. | command | show | way
Could the weather change soon? | yes-no | change | weather
"""
"""Sentence | kind | verb | noun; "-" where there is none. Sentences are our own."""

UNSEEN = """
Describe the clothes that the dancers are wearing. | describe | describe | clothes
Give a brief account of the accident. | describe | give | account
Could you explain how the machine works? | how | work | machine
Elaborate on the symbols in the corner. | describe | elaborate | symbol
What shape is the swimming pool? | what | be | shape
What is hanging from the ceiling? | what | hang | ceiling
What does the label on the bottle say? | what | say | label
What are they waiting for? | what | wait | -
What did the girl with the red balloon drop? | what | drop | girl
What would happen if the rope broke? | what | happen | rope
What is the bearded man in the boat trying to do? | what | try | man
What brand of phone is on the table? | what | be | brand
What caused the traffic jam? | what | cause | jam
What sort of birds live in this forest? | what | live | bird
What's your opinion about the architecture? | what | be | opinion
Which direction is the wind blowing? | which | blow | direction
Which two players collided? | which | collide | player
Which season does the picture show? | which | show | season
Who took the last cookie? | who | take | cookie
Who does the statue represent? | who | represent | statue
Who is taller, the man or the woman? | who | be | man
Where in the kitchen is the kettle? | where | be | kettle
Where have the tourists gone? | where | go | tourist
Where can I buy such a lamp? | where | buy | lamp
When will the bus leave? | when | leave | bus
Why is there a ladder against the house? | why | be | ladder
Why don't the kids enter the water? | why | enter | water
Why do you think the farmer looks worried? | why | look | farmer
How are the plates arranged on the shelf? | how | arrange | plate
How does this invention help people? | how | help | people
How long does the video last? | how | last | video
How should we cook the mushrooms? | how | cook | mushroom
How many windows does the tower have? | how many | count | window
How many of the players are wearing gloves? | how many | count | player
How much snow lies on the roof? | how many | count | snow
Count how many ducks are in the pond. | how many | count | duck
Is the lid of the box closed? | yes-no | close | lid
Is there anything unusual in this scene? | yes-no | be | scene
Are both kids smiling? | yes-no | smile | kid
Does the waiter carry a tray? | yes-no | carry | tray
Do you see a bridge in the distance? | yes-no | see | bridge
Did it rain before the match? | yes-no | rain | match
Can the elephant reach the leaves? | yes-no | reach | leaf
Would a child enjoy this toy? | yes-no | enjoy | toy
Has anyone left a message? | yes-no | leave | message
Were the stairs wet? | yes-no | be | stairs
The girl runs away, right? | yes-no | run | girl
List some synonyms of happy. | command | list | synonym
Compose a song about the old harbor. | command | compose | song
Rank the cars from cheapest to most expensive. | command | rank | car
Convert the table to text. | command | convert | table
Solve the equation on the whiteboard. | command | solve | equation
Rewrite the headline in simpler words. | command | rewrite | headline
Please tell me a joke. | command | tell | joke
Can you help me find my keys? | command | find | key
Recommend a wine for this dish. | command | recommend | wine
Highlight the differences between both maps. | command | highlight | difference
Think of a name for the puppy. | command | think | name
Play a game with me. | command | play | game
Based on the chart, which company grew fastest? | which | grow | company
"""
"""Labelled after the rules were made. At first sight 58 of the 60 kinds, 56 verbs and 56 nouns were right; three rules were mended then."""

OTHERS = {
    "zh": """
这个男人在做什么？ | what
桌子上有几个苹果？ | how many
图片中一共有多少人？ | how many
请详细描述这张图片。 | describe
猫在哪里？ | where
谁拿着雨伞？ | who
为什么孩子在哭？ | why
这张照片是什么时候拍的？ | when
哪个杯子是红色的？ | which
他们怎么去学校？ | how
图中有狗吗？ | yes-no
这辆车是不是蓝色的？ | yes-no
写一首关于大海的诗。 | command
天气晴朗。 | statement
""",
    "ja": """
男の人は何をしていますか？ | what
犬は何匹いますか？ | how many
この写真を詳しく説明してください。 | describe
猫はどこにいますか？ | where
誰が傘を持っていますか？ | who
なぜ子供は泣いているのですか？ | why
この写真はいつ撮られましたか？ | when
どの車が赤いですか？ | which
彼はどうやって学校に行きますか？ | how
これは犬ですか？ | yes-no
海についての詩を書いてください。 | command
空が青い。 | statement
""",
    "de": """
Was hält die Frau in der Hand? | what
Wie viele Kinder spielen im Park? | how many
Beschreibe das Bild genau. | describe
Wo steht das Fahrrad? | where
Wer trägt einen Hut? | who
Warum weint das Kind? | why
Wann wurde das Foto gemacht? | when
Welche Farbe hat das Auto? | which
In welchem Raum sind die Leute? | which
Wie fühlt sich der Mann? | how
Womit spielt der Junge? | what
Gibt es einen Hund auf dem Bild? | yes-no
Trägt der Mann eine Brille? | yes-no
Nenne drei Dinge auf dem Tisch. | command
Der Himmel ist blau. | statement
""",
    "fr": """
Que tient la femme ? | what
Qu'est-ce que l'homme regarde ? | what
Quelle est la couleur de la voiture ? | what
Combien d'enfants jouent dehors ? | how many
Décrivez cette image en détail. | describe
Où est le chat ? | where
Qui porte un chapeau ? | who
Pourquoi l'enfant pleure-t-il ? | why
Quand la photo a-t-elle été prise ? | when
Lequel des deux chiens est plus grand ? | which
Comment est le temps ? | how
Est-ce que la porte est ouverte ? | yes-no
Y a-t-il un chien sur la photo ? | yes-no
Écris un poème sur la mer. | command
Le ciel est bleu. | statement
""",
    "es": """
¿Qué hace el hombre? | what
¿De qué color es el coche? | what
¿Cuál es el nombre del barco? | what
¿Cuántos perros hay en la foto? | how many
Describe la imagen con detalle. | describe
¿Dónde está el gato? | where
¿Quién lleva un sombrero? | who
¿Por qué llora el niño? | why
¿Cuándo se tomó la foto? | when
¿Cuál de los dos es más alto? | which
¿Cómo se siente la mujer? | how
¿Hay un perro en la imagen? | yes-no
¿Está abierta la puerta? | yes-no
Escribe un poema sobre el mar. | command
El cielo es azul. | statement
""",
    "ko": """
남자는 무엇을 하고 있습니까? | what
개가 몇 마리 있나요? | how many
이 사진을 자세히 설명해 주세요. | describe
고양이는 어디에 있나요? | where
누가 우산을 들고 있나요? | who
아이는 왜 울고 있나요? | why
이 사진은 언제 찍었나요? | when
어느 차가 빨간색인가요? | which
그들은 어떻게 학교에 가나요? | how
이것은 개입니까? | yes-no
바다에 대한 시를 써 주세요. | command
하늘이 파랗다. | statement
""",
    "ar": """
ماذا يفعل الرجل؟ | what
ما لون السيارة؟ | what
كم عدد الكلاب في الصورة؟ | how many
صف هذه الصورة بالتفصيل. | describe
أين القطة؟ | where
من يحمل المظلة؟ | who
لماذا يبكي الطفل؟ | why
متى التقطت الصورة؟ | when
أي سيارة هي الحمراء؟ | which
كيف يذهبون إلى المدرسة؟ | how
هل هناك كلب في الصورة؟ | yes-no
اكتب قصيدة عن البحر. | command
السماء زرقاء. | statement
""",
}


def english(lines=ENGLISH):
    """Return (instruction, kind, verb, noun)."""
    rows, waiting = [], ""
    for line in lines.strip().splitlines():
        if "|" not in line:
            waiting = line + "\n"
            continue
        text, kind, verb, noun = (cell.strip() for cell in line.split(" | "))
        rows.append(
            (waiting + text, kind, None if verb == "-" else verb, None if noun == "-" else noun)
        )
        waiting = ""
    return rows


def others():
    """Return (language, instruction, kind)."""
    return [
        (code, *(cell.strip() for cell in line.split(" | ")))
        for code, lines in OTHERS.items()
        for line in lines.strip().splitlines()
    ]
