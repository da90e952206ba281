"""The content words of the demo task: kind of word -> its words, in the base form.

Every split gets its own part of each list (see `demo.py`). A word that is added or moved changes all sentences.
"""

from __future__ import annotations

VOCABULARY = {
    "person": """
        teacher doctor lawyer student farmer driver singer dancer writer artist soldier banker editor engineer
        scientist professor neighbour customer visitor tourist child senator manager director surgeon officer
        athlete reporter historian musician poet sailor hunter detective mechanic architect politician secretary
        clerk scholar journalist minister composer swimmer inspector astronaut nurse thief author expert worker
        priest bishop stranger merchant trader witness prisoner criminal peasant builder painter rider passenger
        mayor governor diplomat attorney agent spy general captain commander publisher performer comedian explorer
        philosopher psychologist physician pupil teenager colleague partner cousin friend volunteer employee citizen
        settler pilgrim designer programmer photographer translator trainer champion pirate robber ranger cyclist
        boxer wrestler sculptor accountant economist mathematician astronomer missionary pilot
    """,
    "man": """
        boy man king actor uncle father brother son prince husband monk gentleman policeman duke wizard cowboy
        emperor businessman fisherman knight lord baron lad waiter grandfather nephew salesman groom landlord
        grandson
    """,
    "woman": """
        girl woman queen actress mother sister daughter wife nun lady witch widow maid waitress aunt grandmother
        princess niece duchess empress bride countess hostess granddaughter heroine goddess girlfriend policewoman
        landlady schoolgirl
    """,
    "man's name": """
        John Peter David Michael Robert James Thomas William Richard Paul George Daniel Kevin Brian Steven Edward
        Henry Andrew Simon Martin Philip Walter Oliver Samuel
    """,
    "woman's name": """
        Mary Anna Susan Linda Karen Sarah Laura Emily Julia Helen Alice Nancy Barbara Jennifer Margaret Elizabeth
        Rachel Diana Emma Jane Lucy Sophie Charlotte Victoria
    """,
    "thing": """
        lamp basket camera bicycle clock guitar blanket mirror carpet bottle piano violin jacket shirt helmet chair
        table radio printer tractor boat candle statue painting map poster letter ticket parcel knife shelf box
        dress trumpet curtain pillow drawer computer motorcycle wheel engine flute coat hat car truck bike wagon
        rifle sword pistol book novel magazine newspaper card portrait flag banner coin medal trophy crown jewel
        diamond button belt boot shoe glove mask skirt robe bench cabinet machine keyboard phone bell drum doll toy
        puzzle rope chain cable tool pen bag jar bowl cup plate fork barrel lantern sculpture tent tablet robot
        helicopter rocket battery umbrella suitcase
    """,
    "place": """
        kitchen garden library park office station museum hotel village forest hospital restaurant school church
        theatre market castle harbour bakery factory airport classroom stadium bedroom cathedral courtyard valley
        desert temple prison warehouse laboratory cottage basement hallway lobby barn tavern palace mansion
        monastery
    """,
    "reflexive verb": """
        admire blame praise accuse rescue convince insult amuse congratulate criticize embarrass defend protect
        introduce encourage deceive betray reward distract comfort mention describe surprise motivate mock injure
        punish portray disguise flatter reassure nominate wound support promote
    """,
    "person verb": """
        arrest challenge chase defeat escort invite thank shock greet annoy frighten kidnap appoint dismiss welcome
        ignore hug advise pursue tease apprehend
    """,
    "thing verb": """
        repair examine replace lift grab display hold damage destroy touch measure ruin fix inspect restore modify
        smash photograph manufacture dismantle reassemble crush abandon discard demolish conceal wreck mend salvage
        handle grasp label
    """,
    "goods verb": """
        find purchase discover remove collect locate obtain acquire take carry seize transport receive borrow use
        retrieve store confiscate buy bring own need possess keep
    """,
    "intransitive": """
        sleep arrive laugh smile disappear giggle shiver sigh frown emerge sob cough vanish tremble weep blush
        stumble linger complain listen crawl faint yawn sneeze snore chuckle kneel depart gasp groan moan talk growl
        chat limp wander shudder flinch wince grin nod cry stare gaze glance gossip proceed
    """,
    "question verb": """
        know remember understand explain reveal learn announce recall confirm determine realize forget guess predict
        indicate disclose clarify
    """,
    "person adjective": """
        happy tired hungry angry clever lazy polite rude famous brave honest shy proud nervous lonely busy wise calm
        generous friendly jealous selfish patient cheerful stubborn thirsty sleepy talented modest curious cautious
        arrogant grateful confident anxious careless loyal miserable popular wealthy
    """,
    "thing adjective": """
        heavy expensive ugly beautiful wooden colourful fragile useless antique modern ancient tiny huge enormous
        small large old black white brown grey pink blue green red yellow purple valuable sturdy round golden
        electric elegant splendid strange ordinary unusual rare plain
    """,
}
