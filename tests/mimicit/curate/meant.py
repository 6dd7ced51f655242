"""Pairs of records, written by us: some say the same in other words, some say something else in nearly the same words.

(question, answer) in two forms. A paraphrase is what a reader would call the same record twice. A contradiction differs in one thing that matters.
"""

from __future__ import annotations

PARAPHRASES = """
What is the cat doing? > It is sleeping on the couch. | What is the cat doing? > It sleeps on the sofa.
Where is the dog? > The dog is lying under the table. | Where is the dog located? > It is lying beneath the table.
What is the man holding? > He is holding a red umbrella. | What does the man hold? > The man holds a red umbrella.
How many people are in the room? > There are three people in the room. | How many persons can be seen in the room? > 3 people are in the room.
What color is the bus? > The bus is yellow. | What is the color of the bus? > It is yellow.
Describe the weather. > It is a sunny day with a clear blue sky. | What is the weather like? > The sky is clear and blue, and it is sunny.
What is the woman wearing? > She is wearing a long black dress. | What is the woman dressed in? > She wears a long black dress.
What are the children playing with? > The kids are playing with a ball. | What are the children playing with? > The children play with a ball.
Is the door open? > Yes, the door is open. | Is the door open? > Yes, it is open.
What is on the plate? > There is a slice of cake on the plate. | What is on the plate? > A slice of cake is on the plate.
Where was the photo taken? > It was taken at a train station. | Where was this picture taken? > The picture was taken in a train station.
What sport is being played? > They are playing tennis. | Which sport are they playing? > Tennis is being played.
Describe the picture. > A man is riding a horse along the beach. | Describe the image. > A man rides a horse on the beach.
What does the sign say? > The sign says stop. | What is written on the sign? > It says stop.
What is behind the house? > There is a big tree behind the house. | What can be seen behind the house? > A large tree stands behind the house.
Why is the boy happy? > He is happy because he won the race. | Why is the boy happy? > Because he won the race.
What is the bird doing? > The bird is sitting on a branch. | What is the bird doing? > It sits on a branch of a tree.
What time of day is it? > It is evening, as the sun is setting. | What time of day is it? > It is evening because the sun is going down.
Describe the table. > The table is set with plates, glasses and a vase of flowers. | How is the table set? > On the table there are plates, glasses and a vase with flowers.
What are the two women doing? > The two women are talking to each other. | What are the two women doing? > Two women are having a conversation.
How does the man feel? > He seems to be tired. | How does the man feel? > The man looks tired.
What vehicle is parked outside? > A motorcycle is parked outside the shop. | What vehicle is parked outside? > There is a motorbike parked in front of the shop.
Is there a clock on the wall? > Yes, there is a clock on the wall. | Can you see a clock on the wall? > Yes, a clock hangs on the wall.
What is the chef preparing? > The chef is cutting vegetables. | What is the cook preparing? > The chef is chopping vegetables.
What animal is in the water? > An elephant is bathing in the river. | Which animal is in the water? > In the river an elephant takes a bath.
Describe the street. > The street is full of cars and people. | Describe the street. > The road is crowded with people and cars.
What is the girl drawing? > She draws a house with a crayon. | What is the girl drawing? > The girl is drawing a house using a crayon.
Where is the book? > The book is on the shelf next to the lamp. | Where is the book? > It is on the shelf beside the lamp.
What happens after the goal? > The players hug each other and cheer. | What happens after the goal? > The players cheer and embrace each other.
What is the baby doing? > The baby is crying loudly. | What is the baby doing? > It is crying loud.
What is in the bowl? > The bowl is filled with fresh strawberries. | What is in the bowl? > Fresh strawberries are in the bowl.
Who is on the stage? > A singer with a guitar is on the stage. | Who is standing on the stage? > On the stage is a singer holding a guitar.
What is the purpose of the helmet? > It protects the head of the rider. | What is the helmet for? > The helmet protects the rider's head.
What kind of room is this? > This is a kitchen. | What kind of room is shown? > It is a kitchen.
What is the man looking at? > He is looking at his phone. | What is the man looking at? > He looks at his mobile phone.
Describe the scene. > Several people are waiting for the bus in the rain. | Describe the scene. > A few people wait for a bus while it rains.
What is the dog carrying? > The dog carries a stick in its mouth. | What is the dog carrying? > A stick is in the dog's mouth.
How is the food cooked? > The meat is grilled over an open fire. | How is the food cooked? > They grill the meat on an open fire.
What is unusual about the photo? > A cow is standing in the middle of a living room. | What is strange about the photo? > A cow stands in the middle of the living room.
Is the street wet? > Yes, the street is wet from the rain. | Is the street wet? > Yes, the road is wet because of rain.
"""

CONTRADICTIONS = """
Where is the lamp? > The lamp is to the left of the bed. | Where is the lamp? > The lamp is to the right of the bed.
Which hand is raised? > She raises her left hand. | Which hand is raised? > She raises her right hand.
Is the door open? > Yes, the door is open. | Is the door open? > No, the door is not open.
Is the man smiling? > Yes, he is smiling. | Is the man smiling? > No, he is not smiling.
Is there a dog in the picture? > Yes. | Is there a dog in the picture? > No.
Is the street wet? > The street is wet. | Is the street wet? > The street isn't wet.
How many birds are there? > There are two birds on the wire. | How many birds are there? > There are three birds on the wire.
How many people are in the room? > 5 people are in the room. | How many people are in the room? > 6 people are in the room.
How many apples are on the table? > There is one apple on the table. | How many apples are on the table? > There are four apples on the table.
What color is the car? > The car is red. | What color is the car? > The car is blue.
What is she wearing? > She is wearing a white dress. | What is she wearing? > She is wearing a black dress.
What color is the wall? > The wall is painted green. | What color is the wall? > The wall is painted gray.
Where is the cat? > The cat is under the table. | Where is the cat? > The cat is on the table.
Where is the picture? > The picture hangs above the sofa. | Where is the picture? > The picture hangs below the sofa.
Where is the boy? > The boy is standing in front of the tree. | Where is the boy? > The boy is standing behind the tree.
Where are the people? > The people are inside the house. | Where are the people? > The people are outside the house.
Who is riding the horse? > A man is riding the horse. | Who is riding the horse? > A woman is riding the horse.
Who is holding the ball? > The boy is holding the ball. | Who is holding the ball? > The girl is holding the ball.
What animal is on the sofa? > A cat is lying on the sofa. | What animal is on the sofa? > A dog is lying on the sofa.
What is in the bowl? > There are apples in the bowl. | What is in the bowl? > There are oranges in the bowl.
What is the man doing? > He is sitting on the bench. | What is the man doing? > He is standing on the bench.
What is the woman doing? > She is walking along the beach. | What is the woman doing? > She is running along the beach.
Is the dog left of the cat? > The dog is left of the cat. | Is the cat left of the dog? > The cat is left of the dog.
What happens? > The dog chases the cat. | What happens? > The cat chases the dog.
What is bigger? > The red box is bigger than the blue box. | What is bigger? > The blue box is bigger than the red box.
Is the window open? > The window is open. | Is the window open? > The window is closed.
How old is the man? > He is a young man. | How old is the man? > He is an old man.
What size is the dog? > It is a small dog. | What size is the dog? > It is a large dog.
What time is it? > The photo was taken during the day. | What time is it? > The photo was taken at night.
Is the glass full? > The glass is full. | Is the glass full? > The glass is empty.
What does she do first? > She washes her hands before eating. | What does she do first? > She washes her hands after eating.
What does the man do? > He gets on the bus. | What does the man do? > He gets off the bus.
Which way do they go? > They walk up the stairs. | Which way do they go? > They walk down the stairs.
What vehicle is parked there? > A truck is parked on the street. | What vehicle is parked there? > A bicycle is parked on the street.
What is the man holding? > He is holding a hammer. | What is the man holding? > He is holding a knife.
What room is it? > It is a bathroom with a mirror. | What room is it? > It is a bedroom with a mirror.
What do they play? > They are playing soccer in the park. | What do they play? > They are playing baseball in the park.
Does the man wear a hat? > The man wears a hat. | Does the man wear a hat? > The man wears no hat.
Who is taller? > The girl on the left is taller. | Who is taller? > The girl on the right is taller.
Can he reach the shelf? > He can reach the shelf. | Can he reach the shelf? > He can't reach the shelf.
What is the weather like? > It is hot and sunny. | What is the weather like? > It is cold and sunny.
What is on the pizza? > The pizza has cheese and tomatoes. | What is on the pizza? > The pizza has cheese without tomatoes.
What time does the clock show? > The clock shows 10:15. | What time does the clock show? > The clock shows 10:45.
Which team wins? > The team in red wins the match. | Which team wins? > The team in red loses the match.
What is the child eating? > The child is eating a banana. | What is the child eating? > The child is eating a sandwich.
How does she look? > She looks happy. | How does she look? > She looks sad.
Is anyone in the car? > There is somebody in the car. | Is anyone in the car? > There is nobody in the car.
What is on the desk? > A keyboard and a mouse are on the desk. | What is on the desk? > A keyboard and a monitor are on the desk.
What is the woman looking at? > The woman is looking at the man. | What is the man looking at? > The man is looking at the woman.
Where is the train going? > The train is arriving at the station. | Where is the train going? > The train is leaving the station.
"""

UNSEEN_PARAPHRASES = """
What is the farmer driving? > The farmer is driving a tractor. | What does the farmer drive? > He drives a tractor.
What is hanging on the wall? > A painting of a ship hangs on the wall. | What is on the wall? > There is a painting of a ship on the wall.
What is the girl eating? > The girl is eating ice cream. | What is the girl eating? > She eats an ice cream.
What are the people waiting for? > They are waiting for the traffic light to turn green. | What are the people waiting for? > The people wait until the traffic light turns green.
Describe the mountain. > The mountain is covered with snow. | What does the mountain look like? > Snow covers the mountain.
What is parked by the road? > A blue bicycle is parked by the road. | What is parked next to the road? > Next to the road a blue bike is parked.
How many windows does the house have? > The house has six windows. | How many windows are on the house? > There are 6 windows on the house.
What is the teacher doing? > The teacher is writing on the blackboard. | What is the teacher doing? > She writes something on the blackboard.
What can you buy here? > You can buy fruit and vegetables here. | What is sold here? > Fruits and vegetables are sold here.
Where are the keys? > The keys are in the drawer. | Where are the keys? > You can find the keys in the drawer.
What is the mood of the picture? > The mood is calm and peaceful. | What mood does the picture have? > It has a peaceful and calm mood.
What are they celebrating? > They are celebrating a birthday. | What are they celebrating? > It is a birthday party.
What is the boat made of? > The boat is made of wood. | What is the boat made of? > It is a wooden boat.
Who is sitting at the desk? > A woman with glasses is sitting at the desk. | Who sits at the desk? > At the desk sits a woman who wears glasses.
What does the man carry on his back? > He carries a big backpack. | What does the man carry on his back? > He has a large backpack on his back.
Why is the road closed? > The road is closed because of construction work. | Why is the road closed? > Because of construction the road is closed.
What is the dog looking at? > The dog is looking at a squirrel in the tree. | What does the dog look at? > It watches a squirrel on the tree.
What do the shelves hold? > The shelves are full of books. | What is on the shelves? > There are lots of books on the shelves.
Is it a busy market? > Yes, the market is crowded with shoppers. | Is it a busy market? > Yes, many shoppers crowd the market.
What is the musician playing? > The musician plays the violin. | Which instrument does the musician play? > He is playing a violin.
"""

UNSEEN_CONTRADICTIONS = """
Where is the vase? > The vase is on the left side of the shelf. | Where is the vase? > The vase is on the right side of the shelf.
What is the farmer driving? > The farmer is driving a tractor. | What is the farmer driving? > The farmer is driving a car.
Is the oven hot? > Yes, the oven is hot. | Is the oven hot? > No, the oven is not hot.
How many sheep are on the hill? > There are seven sheep on the hill. | How many sheep are on the hill? > There are nine sheep on the hill.
What color is her hair? > Her hair is brown. | What color is her hair? > Her hair is blond.
Where is the ladder? > The ladder leans against the barn. | Where is the ladder? > The ladder lies next to the barn.
What does he pour into the cup? > He pours milk into the cup. | What does he pour into the cup? > He pours tea into the cup.
Who opens the gate? > The father opens the gate. | Who opens the gate? > The mother opens the gate.
What instrument is it? > It is a piano. | What instrument is it? > It is a violin.
When was it taken? > It was taken in summer. | When was it taken? > It was taken in winter.
Is the shop busy? > There are many customers in the shop. | Is the shop busy? > There are few customers in the shop.
What is he doing with the box? > He is lifting the box. | What is he doing with the box? > He is dropping the box.
Where does the ball land? > The ball lands in the goal. | Where does the ball land? > The ball lands outside the goal.
What shape is the mirror? > The mirror is round. | What shape is the mirror? > The mirror is square.
What is the bread like? > The bread is fresh. | What is the bread like? > The bread is stale.
Does she like the gift? > She likes the gift. | Does she like the gift? > She does not like the gift.
What does the woman hand to the child? > The woman hands the book to the child. | What does the child hand to the woman? > The child hands the book to the woman.
What is above the door? > A lantern is above the door. | What is above the door? > A sign is above the door.
Is the boat moving? > The boat is moving. | Is the boat moving? > The boat is standing still.
What are the players wearing? > The players wear white shirts and black shorts. | What are the players wearing? > The players wear black shirts and white shorts.
Which lane is free? > The left lane is free. | Which lane is free? > The middle lane is free.
What is the price? > The price is 20 euros. | What is the price? > The price is 25 euros.
How does the soup taste? > The soup tastes sweet. | How does the soup taste? > The soup tastes salty.
What is in the background? > There are mountains in the background. | What is in the background? > There are buildings in the background.
What does the label warn of? > The label warns of fire. | What does the label warn of? > The label warns of flooding.
"""
"""As above, written after the guard was made, and never used to mend it."""


def _pairs(lines):
    return [
        tuple(tuple(said.strip().split(" > ")) for said in line.split(" | "))
        for line in lines.strip().splitlines()
    ]


def paraphrases(lines=PARAPHRASES):
    """Return ((question, answer), (question, answer)) that say the same."""
    return _pairs(lines)


def contradictions(lines=CONTRADICTIONS):
    """Return ((question, answer), (question, answer)) that do not."""
    return _pairs(lines)
