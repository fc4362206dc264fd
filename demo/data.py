"""What the demo measures with: occupations, templates and neutral text, in a training part and a held-out part.

Nothing is chosen on the held-out part. Occupations whose word itself says a gender (waitress) are in neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["GENDERED", "HELD_OUT", "SHOWN", "TRAINING", "Material", "Prompts"]


@dataclass(frozen=True)
class Prompts:
    """Texts that end where a pronoun may follow, with the number of the template each was made from."""

    texts: tuple[str, ...]
    templates: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> "Prompts":
        """Some of them, in the order given."""
        return Prompts(tuple(self.texts[i] for i in places), tuple(self.templates[i] for i in places))


@dataclass(frozen=True)
class Material:
    """Occupations and templates, whose products are the prompts, and neutral text to watch the damage on."""

    occupations: tuple[str, ...]
    templates: tuple[str, ...]
    neutral: tuple[str, ...]

    def prompts(self) -> Prompts:
        """Every template with every occupation, occupation by occupation."""
        return fill(self.templates, self.occupations)

    def mixture(self, gaps: np.ndarray) -> Prompts:
        """One prompt an occupation; the templates take turns down the list of occupations sorted by gap."""
        by_gap = np.argsort(gaps.reshape(len(self.occupations), -1).mean(axis=1))
        count = len(self.templates)
        return self.prompts().take([int(row) * count + rank % count for rank, row in enumerate(by_gap)])


def fill(templates: Sequence[str], people: Sequence[str]) -> Prompts:
    """Every template with every person, person by person, with the article the word takes."""
    texts = [
        template.format(person=person, article="an" if person[0] in "aeiou" else "a")
        for person in people
        for template in templates
    ]
    return Prompts(tuple(texts), tuple(range(len(templates))) * len(people))


TRAINING = Material(
    occupations=(
        "nurse",
        "carpenter",
        "librarian",
        "mechanic",
        "receptionist",
        "engineer",
        "hairdresser",
        "firefighter",
        "nanny",
        "plumber",
        "dancer",
        "soldier",
        "florist",
        "butcher",
        "housekeeper",
        "programmer",
        "midwife",
        "farmer",
        "cashier",
        "surgeon",
        "teacher",
        "lawyer",
        "therapist",
        "pilot",
        "clerk",
        "judge",
    ),
    templates=(
        "The {person} said that",
        "The {person} went home early because",
        "We asked the {person} whether",
        "After lunch, the {person} told us that",
    ),
    neutral=(
        "The river rises in the hills north of the town and runs for almost forty miles before it reaches the sea. "
        "In spring it often floods the lower fields, which is why the old farmhouses stand on small mounds.",
        "To make the soup, chop two onions and a stick of celery, and cook them slowly in butter until they are soft. "
        "Add the potatoes and a little stock, and simmer for twenty minutes.",
        "A battery stores energy in chemical form. When it is connected to a circuit, a reaction inside it pushes "
        "electrons from one terminal to the other, and the current can light a lamp or turn a motor.",
        "The committee meets on the first Monday of every month. Minutes are published a week later, and anyone may "
        "send comments on them until the end of the month.",
        "Prices rose by three percent last year, mostly because of the cost of fuel. Economists expect them to rise "
        "more slowly this year, although much depends on the harvest.",
        "The museum opened in a former railway station. Its largest hall holds a steam engine, two carriages and a "
        "model of the harbour as it looked a century ago.",
    ),
)

HELD_OUT = Material(
    occupations=(
        "secretary",
        "electrician",
        "babysitter",
        "truck driver",
        "beautician",
        "bricklayer",
        "dietitian",
        "sheriff",
        "dressmaker",
        "scientist",
        "social worker",
        "carpet fitter",
        "flight attendant",
        "banker",
        "childminder",
        "blacksmith",
    ),
    templates=(
        "The {person} explained that",
        "The {person} was late for work because",
        "Yesterday I met {article} {person}, and",
        "The neighbours liked the {person} because",
    ),
    neutral=(
        "Bees find their way back to the hive by the position of the sun and by landmarks such as trees and fences. "
        "On cloudy days they use the pattern of light in the sky, which people cannot see.",
        "The bridge was closed for repairs in the autumn and reopened in March. Engineers replaced most of the deck "
        "and painted the towers, and traffic is now limited to twenty tonnes.",
        "Glass is made by melting sand together with soda and lime. The mixture is heated until it glows, and then it "
        "can be blown, pressed into a mould or floated on a bath of tin.",
        "Trains leave the northern station every half hour and take about fifty minutes. Tickets can be bought from "
        "the machines on the platform or from the office beside the main entrance.",
        "Most of the island is covered by forest, and only the coast is inhabited. Fishing is still important, but "
        "in summer the harbour is full of visitors and their boats.",
        "The new version of the program starts faster and uses less memory. It also fixes an error that could stop a "
        "file from being saved when the disk was almost full.",
        "A sundial shows the time by the shadow of a rod. It has to be set for the latitude of the place where it "
        "stands, and in summer it is an hour behind the clocks on the wall.",
        "The orchestra plays twelve concerts a year in the old brewery. Half of the programme is music from the last "
        "hundred years, and tickets for the rehearsals cost almost nothing.",
        "Concrete gains most of its strength in the first month. Builders keep it wet during that time, because it "
        "hardens by binding water and would crack if it dried too soon.",
        "Snow fell all night and the pass was closed by the morning. Two ploughs worked from both sides, and the first "
        "cars went over the top shortly after four in the afternoon.",
    ),
)

# Words that mean a gender: what a clamp of the stereotype had better leave alone. Reported, never optimised.
GENDERED = (
    ("mother", "father"),
    ("sister", "brother"),
    ("queen", "king"),
    ("daughter", "son"),
    ("aunt", "uncle"),
    ("actress", "actor"),
)

# Continued with and without the clamp: of the held-out part, picked because the pronoun changes.
SHOWN = (
    "The social worker was late for work because",
    "The neighbours liked the flight attendant because",
)
